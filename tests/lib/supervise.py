# SPDX-License-Identifier: BSD-3-Clause
"""The programs that start bley for a connection, as tests run them: each function starts one for a test case, which
also stops it, and returns the address for a PolicyClient or for check_policy_service."""

import os
import re
import shutil

import bleytest

NOBODY = "nobody"


def give_to_nobody(test):
    """The folder of write_conf()'s database and its log file, for handlers that do not run as root."""
    test.write("log", "", 0o666)
    os.makedirs(test.path("db"), exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(test.path("db"), NOBODY, "nogroup")


def children(pid):
    """The processes that a process has started."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as stream:
        return [int(word) for word in stream.read().split()]


def unix_listens(path):
    """Whether a socket listens there (proc_net(5): a flag in the fourth column): it may be bound and not listen yet."""
    with open("/proc/self/net/unix", encoding="utf-8", errors="replace") as stream:
        for fields in map(str.split, stream):
            if fields[-1] == path and int(fields[3], 16) & 0x10000:
                return True
    return False


def start_socket_activate(test, listens, conf, options, program=None, args=()):
    """Returns the process, and the address of each listener as a client wants it. program: another than bley."""
    activate = test.need("systemd-socket-activate")
    passed = [word for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS") if name in os.environ for word in ("-E", name)]
    command = [activate, *(word for listen in listens for word in ("-l", listen)), *options, *passed,
               *([program, *args] if program else [bleytest.bley_for_all(test), *bleytest.ALLOW_ROOT, "-c", conf])]
    process = test.start(command)
    addresses = []
    for listen in listens:
        if listen.startswith("/"):
            test.wait_until(lambda path=listen: unix_listens(path), f"a listener on {listen}")
            os.chmod(listen, 0o666)
            addresses.append(listen)
        else:
            port = int(listen.rpartition(":")[2])
            test.wait_until(lambda number=port: tcp_listens(number), f"a listener on port {port}")
            addresses.append(("127.0.0.1", port))
    return process, addresses


def tcp_listens(port):
    """Whether a socket listens there (proc_net_tcp: state 0A), without connecting: a connection would start bley."""
    with open("/proc/self/net/tcp", encoding="ascii") as stream:
        for fields in map(str.split, stream):
            if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
                return True
    return False


def socket_activate(test, listen, conf, inetd=True):
    """systemd-socket-activate: the connection is standard input and output, or file descriptor 3."""
    return start_socket_activate(test, [listen], conf, ["--accept", *(["--inetd"] if inetd else [])])[1][0]


def warm(test, listens, conf):
    """systemd-socket-activate hands the listening sockets over, and becomes bley with the first connection."""
    return start_socket_activate(test, listens, conf, [])


def setting(text, name, value):
    """Changes one setting of a xinetd service that is there."""
    changed, count = re.subn(rf"(?m)^(\s*{name}\s*=).*$", lambda match: f"{match.group(1)} {value}", text)
    if count != 1:
        raise AssertionError(f"{name} stands {count} times in xinetd/bley")
    return changed


def xinetd(test, conf, program=None, wait=False):
    """xinetd with the file that we ship; only port, user and program are the test's. program: another than bley. wait: as the
    file says for warm mode."""
    server = program or bleytest.bley_for_all(test)
    program = test.need("xinetd")
    test.need_root()
    port = bleytest.free_port()
    with open(os.path.join(bleytest.BUILD, "data", "xinetd", "bley"), encoding="utf-8") as stream:
        text = stream.read()
    for name, value in (("port", port), ("user", NOBODY), ("group", "nogroup"), ("server", server)):
        text = setting(text, name, value)
    if conf:
        text = setting(text, "umask", f"027\n\tserver_args\t= -c {conf}")
    if wait:
        text = re.sub(r"(?m)^\s*only_from.*\n", "", setting(text, "wait", "yes"))
    path = test.write("xinetd.conf", text)
    process = test.start([program, "-dontfork", "-f", path, "-pidfile", test.path("xinetd.pid"), "-filelog",
                          test.path("xinetd.log")])
    test.wait_for_port(port, process=process)
    return "127.0.0.1", port


def openbsd_inetd(test, conf, wait="nowait"):
    """openbsd-inetd with a line of the file that we ship; it stands beside xinetd only when unpacked, as bootstrap does.
    wait="wait": warm mode."""
    program = test.need("inetd")
    test.need_root()
    port = bleytest.free_port()
    with open(os.path.join(bleytest.BUILD, "data", "conf", "inetd.conf"), encoding="utf-8") as stream:
        lines = [line.lstrip("#").split() for line in stream if line.lstrip("#").startswith("127.0.0.1:")]
    line = next(fields for fields in lines if fields[3].split(".")[0] == wait)
    line[0], line[4], line[5] = f"127.0.0.1:{port}", NOBODY, bleytest.bley_for_all(test)
    path = test.write("inetd.conf", "\t".join([*line, "-c", conf]) + "\n")
    process = test.start([program, "-i", path], env=bleytest.root_environment(program))
    test.wait_for_port(port, process=process)
    return "127.0.0.1", port


def spawn_service(test, conf):
    """The entry for master.cf that we ship; only user and program are the test's."""
    with open(os.path.join(bleytest.BUILD, "data", "conf", "postfix-master.cf.example"), encoding="utf-8") as stream:
        text = stream.read()
    changed, count = re.subn(r"user=bley argv=\S+", f"user={NOBODY} argv={bleytest.bley_for_all(test)} -c {conf}", text)
    if count != 1:
        raise AssertionError("no user=bley in postfix-master.cf.example")
    return changed
