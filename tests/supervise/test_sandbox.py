# SPDX-License-Identifier: BSD-3-Clause
"""What code that has got hold of a handler cannot do any more: see probe_preload.c, which is that code."""

import errno
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import unittest

import bleytest
import servers

DEFER = "DEFER_IF_PERMIT greylisted, try again later"

# What the kernel has to know of for each.
FILES = {"read", "write", "append", "make", "list", "rename", "link", "symlink", "mkdir", "mkfifo", "unlink", "users"}
CALLS = {"empty", "truncate", "chmod", "chown", "utime", "setxattr", "execve", "execve-memory", "execveat", "fork", "system",
         "ptrace", "peek", "kill", "kill-others", "setuid", "unshare", "mount", "io_uring", "packet",
         "fastopen", "fastopen-msg", "fastopen-msgs", "mptcp"}
PORTS = {"port"}
OWN = {"own-unix", "own-make", "own-rename", "own-unlink", "own-library", "own-zone", "own-limit", "own-signal", "own-port",
       "own-promise"}

# What any user may do without a sandbox, wherever the test runs: this code does try.
FREE = {"read", "write", "append", "list", "chmod", "fork", "system", "kill", "port", "users", "own-port"}

REFUSALS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}

PORTS_ABI = 4


class SandboxCase(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("logs"))
        self.write_conf()
        self.own("db")
        self.own("logs")
        self.wrapper = servers.as_user("nobody")

    def write_conf(self, name="bley.conf", **keys):
        return super().write_conf(name, **{"log_file": self.path("logs", "log"), **keys})

    def own(self, name):
        """Gives a file or folder of the test to the user that bley runs as."""
        if os.geteuid() == 0:
            shutil.chown(self.path(name), "nobody", "nogroup")

    def start_handler(self, conf=None, **options):
        return self.handler(conf, wrapper=self.wrapper, bley=bleytest.bley_for_all(self), **options)


class Probe(SandboxCase):
    def setUp(self):
        super().setUp()
        if bleytest.instrumented():
            self.skipTest("this build is instrumented")
        self.preload = self.path("probe.so")
        shutil.copy(bleytest.program("tests/supervise/probe_preload.so"), self.preload)
        self.write("elsewhere/there", "as it was\n", 0o644)
        self.own("elsewhere")
        self.own("elsewhere/there")
        self.other, self.allowed = self.listener(socket.AF_INET), self.listener(socket.AF_INET)
        self.local = self.listener(socket.AF_UNIX, self.path("socket"))
        os.chmod(self.path("socket"), 0o666)
        said = self.bleyctl("check").stdout
        abi = re.search(r"^sandbox: ok, .*landlock ABI (\d+)", said, re.M)
        self.abi = int(abi.group(1)) if abi else 0
        self.filter = "system calls (seccomp)" in said

    def listener(self, family, address=("127.0.0.1", 0)):
        listener = socket.socket(family)
        self.addCleanup(listener.close)
        listener.bind(address)
        listener.listen()
        return listener

    def port(self, listener):
        return listener.getsockname()[1]

    def environment(self, report):
        return {**os.environ, "LD_PRELOAD": self.preload, "PROBE_FD": str(report), "PROBE_FOLDER": self.path("elsewhere"),
                "PROBE_STATE": self.path("db"), "PROBE_PORT": str(self.port(self.other)),
                "PROBE_DNS": str(self.port(self.allowed)), "PROBE_SOCKET": self.path("socket")}

    def conf(self, **keys):
        return self.write_conf(dns_servers=f"127.0.0.1:{self.port(self.allowed)}", **keys)

    def probe(self, **keys):
        """What each thing that was tried ended with: an errno, or 0."""
        conf = self.conf(**keys)
        ours, theirs = os.pipe()
        # below a shell, which is a process of the same user
        shell = [*self.wrapper, "sh", "-c", '"$0" "$@"; exit $?']
        handler = self.handler(conf, wrapper=shell, bley=bleytest.bley_for_all(self), env=self.environment(theirs),
                               pass_fds=[theirs])
        os.close(theirs)
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.ask_suspicious(), "DEFER_IF_PERMIT greylisted, try again later (cached result)")
        self.assertEqual(handler.finish(), 0)
        return self.read_report(ours)

    def read_report(self, fd):
        with os.fdopen(fd) as stream:
            lines = [line.split() for line in stream]
        self.assertEqual(lines.pop(), ["end", "0"])
        self.assertEqual({name for name, _ in lines}, FILES | CALLS | PORTS | OWN)
        return {name: int(number) for name, number in lines}

    def assert_confined(self, report):
        for name in OWN:
            self.assertEqual(report[name], 0, name)
        refused = (FILES if self.abi else set()) | (CALLS if self.filter else set()) | (PORTS if self.abi >= PORTS_ABI else set())
        for name in refused:
            self.assertIn(report[name], REFUSALS, name)
        if self.abi and self.filter:
            self.assertEqual(os.listdir(self.path("elsewhere")), ["there"])
            with open(self.path("elsewhere", "there"), encoding="ascii") as stream:
                self.assertEqual(stream.read(), "as it was\n")
            self.assertEqual(os.stat(self.path("elsewhere", "there")).st_mode & 0o7777, 0o644)

    def test_a_handler(self):
        self.assert_confined(self.probe())

    def test_without(self):
        report = self.probe(sandbox="no")
        for name in FREE:
            self.assertEqual(report[name], 0, name)

    def test_a_handler_in_warm_mode(self):
        conf = self.conf()
        ours, theirs = os.pipe()
        listener = self.listener(socket.AF_INET)
        self.start([*self.wrapper, bleytest.bley_for_all(self), *bleytest.ALLOW_ROOT, "-c", conf], stdin=listener,
                   env=self.environment(theirs), pass_fds=[theirs])
        os.close(theirs)
        client = self.client(listener.getsockname())
        self.assertEqual(client.ask_suspicious(), DEFER)
        text = b""
        while not text.endswith(b"end 0\n"):
            self.assertTrue(select.select([ours], [], [], bleytest.PATIENCE)[0], text)
            more = os.read(ours, 4096)
            self.assertTrue(more, text)
            text += more
        os.close(ours)
        self.assert_confined({name: int(number) for name, number in map(str.split, text.decode().splitlines()[:-1])})

    def test_a_tool_that_reads_what_strangers_say(self):
        process = self.start([bleytest.program("bleyctl"), "-c", self.path("bley.conf"), "test"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
        process.stdin.write(bleytest.suspicious())
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), b"action=" + DEFER.encode() + b"\n")
        with open(f"/proc/{process.pid}/status", encoding="ascii") as stream:
            status = stream.read()
        self.assertIn("NoNewPrivs:\t1\n", status)
        if self.filter:
            self.assertIn("Seccomp:\t2\n", status)
        process.stdin.close()
        self.assertEqual(process.wait(bleytest.PATIENCE), 0)

    def test_status(self):
        handler = self.start_handler()
        handler.ask()
        with open(f"/proc/{handler.process.pid}/status", encoding="ascii") as stream:
            status = stream.read()
        self.assertIn("NoNewPrivs:\t1\n", status)
        if self.filter:
            self.assertIn("Seccomp:\t2\n", status)


class Without(SandboxCase):
    """Older kernels, and containers that forbid it: what cannot be done is left out, and mail flows."""

    def test_nothing_of_it_is_there(self):
        if bleytest.instrumented():
            self.skipTest("this build is instrumented")
        preload = self.path("old_kernel.so")
        shutil.copy(bleytest.program("tests/supervise/old_kernel_preload.so"), preload)
        for number in (errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL):
            env = {**os.environ, "LD_PRELOAD": preload, "OLD_KERNEL": str(number)}
            handler = self.start_handler(args=["-v"], env=env)
            self.assertEqual(handler.ask_suspicious(sender=f"{number}@example.net", client_address=f"203.0.113.{number}"), DEFER)
            self.assertEqual(handler.finish(), 0)
            self.assertEqual(handler.errors(), "")
            self.assertIn("sandbox: ok, no landlock here, no system call filter here\n", self.bleyctl("check", env=env).stdout)
        lines = self.log_lines("logs/log")
        self.assertEqual(sum("sandbox: files as they were, system calls as they were" in line for line in lines), 4)
        self.assertEqual([line for line in lines if "warning" in line or "error" in line], [])


class Lasting(SandboxCase):
    """What is replaced while a handler lasts is out of its reach: it makes room for one that can use it."""

    def assert_makes_room(self, handler):
        def ended():
            try:
                handler.send(bleytest.suspicious())
            except OSError:
                return True
            return not handler.recv()
        self.wait_until(ended, "the handler to end")
        self.assertEqual(handler.wait(), 0)

    def restricts_files(self):
        return "landlock ABI" in self.bleyctl("check").stdout

    def test_a_new_folder_for_the_database(self):
        if not self.restricts_files():
            self.skipTest("no landlock here")
        handler = self.start_handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        os.rename(self.path("db"), self.path("old"))
        os.mkdir(self.path("db"))
        self.own("db")
        self.assert_makes_room(handler)
        handler = self.start_handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(self.rows("SELECT count(*) FROM bley_status"), [(1,)])

    def test_a_new_resolv_conf(self):
        self.need_root()
        if not self.restricts_files():
            self.skipTest("no landlock here")
        os.mkdir(self.path("etc"))
        for name in ("localtime", "ld.so.cache", "resolv.conf"):
            if os.path.exists("/etc/" + name):
                shutil.copy("/etc/" + name, self.path("etc", name))
        self.wrapper = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', self.path("etc"),
                        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        handler = self.start_handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.write("etc/resolv.conf.new", "nameserver 192.0.2.1\n")
        os.rename(self.path("etc", "resolv.conf.new"), self.path("etc", "resolv.conf"))
        self.assert_makes_room(handler)

    def test_settings_of_warm_mode(self):
        """The parent is outside: those that it starts after a change are at home where the new settings say."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            process = self.start([*self.wrapper, bleytest.bley_for_all(self), *bleytest.ALLOW_ROOT, "-c", self.path("bley.conf")],
                                 stdin=listener)
            address = listener.getsockname()
        self.assertEqual(self.client(address).ask_suspicious(), DEFER)
        os.mkdir(self.path("db2"))
        self.own("db2")
        self.write_conf(dbpath=self.path("db2"))
        process.send_signal(signal.SIGHUP)
        self.wait_for_log("configuration and whitelists read anew", name="logs/log")
        self.assertEqual(self.client(address).ask_suspicious(), DEFER)
        self.assertEqual(self.rows("SELECT count(*) FROM bley_status", database=self.path("db2", "bley.db")), [(1,)])

    def test_a_log_that_is_a_link(self):
        os.mkdir(self.path("disk"))
        self.write("disk/log", "")
        self.own("disk")
        self.own("disk/log")
        os.symlink(self.path("disk", "log"), self.path("logs", "log"))
        handler = self.start_handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.wait_for_log("decided", name="disk/log")

    def test_a_log_that_is_moved_away(self):
        handler = self.start_handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.wait_for_log("decided", name="logs/log")
        os.rename(self.path("logs", "log"), self.path("logs", "log.1"))
        handler.ask_suspicious()
        self.wait_for_log("decided", name="logs/log")
        self.assertEqual(handler.finish(), 0)


class Databases(SandboxCase):
    """A database server is reached again once it was gone, with the libraries and certificates that it takes."""

    def use(self, server, env, **keys):
        name = server.database()
        self.write_conf(**{"dbhost": "127.0.0.1", "dbport": server.port, "dbname": name, "cache_valid": 0, **keys})
        handler = self.start_handler(env={**os.environ, "HOME": self.tmp, **env})
        self.assertEqual(handler.ask_suspicious(), DEFER, self.log_lines("logs/log"))
        server.stop()
        self.assertEqual(handler.ask_suspicious(), "DUNNO")
        server.start()
        self.wait_until(lambda: handler.ask_suspicious() == DEFER, "the database is used again")
        self.assertEqual(handler.finish(), 0, handler.errors())

    def test_postgresql_with_a_certificate(self):
        self.need("openssl", "initdb")
        certificate, key = self.path("root.crt"), self.path("server.key")
        servers.run(["openssl", "req", "-new", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                     "-subj", "/CN=localhost", "-keyout", key, "-out", certificate])
        os.chmod(key, 0o600)
        if os.geteuid() == 0:
            shutil.chown(key, "postgres", "postgres")
        server = servers.PostgreSQL(ssl="on", ssl_cert_file=certificate, ssl_key_file=key)
        self.addCleanup(server.remove)
        self.use(server, {"PGSSLROOTCERT": certificate}, dbtype="pgsql", dbtls="verify", dbhost="localhost")

    def test_mariadb(self):
        self.need("mariadbd", "mariadb-install-db")
        server = servers.MariaDB()
        self.addCleanup(server.remove)
        self.use(server, {}, dbtype="mysql")


class Root(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        self.need_root()
        self.conf = self.write_conf()

    def test_refused(self):
        done = self.run_program([bleytest.program("bley"), "-c", self.conf], stdin=None, input="")
        self.assertEqual((done.returncode, done.stdout), (77, ""))
        self.assertRegex(done.stderr, r"^bley: not as root: .*User=.*--allow-root\n$")
        self.assertFalse(os.path.exists(self.path("log")))

    def test_refused_where_standard_error_is_the_connection(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = subprocess.Popen([bleytest.program("bley"), "-c", self.conf], stdin=theirs, stdout=theirs, stderr=theirs)
            theirs.close()
            self.addCleanup(bleytest.stop, process)
            self.assertEqual(ours.recv(100), b"")
            self.assertEqual(process.wait(bleytest.PATIENCE), 77)


class Told(bleytest.TestCase):
    def test_check_tells(self):
        self.assertRegex(self.bleyctl("check", conf=self.write_conf()).stdout, r"(?m)^sandbox: ok, .*system call")
        self.assertRegex(self.bleyctl("check", conf=self.write_conf(sandbox="no")).stdout, r"(?m)^sandbox: ok, off$")


if __name__ == "__main__":
    unittest.main()
