# SPDX-License-Identifier: BSD-3-Clause
"""An Exim of the test's own, out of a package that bootstrap has unpacked: in a mount name space in which its user and its
libraries are there, on a port of 127.0.0.1, with the ACL under test; or in which it is Debian's, with the files of exim4-config.

    exim = Exim(self, "exim-light", shipped("exim-acl.example"), macros="BLEY_SOCKET = /run/bley/policy")
    with exim.session() as smtp:
        self.assertEqual(smtp.rcpt("bob@test.example")[0], 451)
"""

import atexit
import functools
import glob
import os
import re
import shutil
import signal
import smtplib
import subprocess
import tempfile

import bleytest

DOMAIN = "test.example"
USER = "Debian-exim"
USER_ID = 3177  # in the name space only, as is the one who gets mail
PASSWD = f"""\
{USER}:x:{USER_ID}:{USER_ID}::/nonexistent:/usr/sbin/nologin
bob:x:{USER_ID + 1}:{USER_ID}::/:/usr/sbin/nologin
"""

STRANGER = "127.0.0.2"  # where sessions come from
RELAY = "127.0.0.5"     # one of relay_from_hosts

CONF = """\
{macros}
exim_path = {exim}
spool_directory = {base}/spool
log_file_path = {base}/log/%slog
pid_file_path = {base}/exim.pid
keep_environment =
primary_hostname = mx.{domain}
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts =
rfc1413_query_timeout = 0s
smtp_accept_max = 100
smtp_connect_backlog = 100
host_lookup =
helo_allow_chars = _
smtputf8_advertise_hosts = *
acl_smtp_rcpt = acl_check_rcpt
domainlist local_domains = {domain}
domainlist relay_to_domains =
hostlist relay_from_hosts = {relay}
begin acl
{more}
acl_check_rcpt:
{acl}
  accept domains = +local_domains
  accept hosts = +relay_from_hosts
  deny message = relay not permitted
begin routers
inbox:
  driver = accept
  domains = +local_domains
  transport = file
begin transports
file:
  driver = appendfile
  file = {base}/inbox/mbox
  user = {user}
begin retry
begin rewrite
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if eq{{$auth3}}{{secret}}}}
  server_set_id = $auth2
"""

SCRIPT = """\
set -e
mount --bind {base}/passwd /etc/passwd
mount --bind {base}/group /etc/group
mount --bind {libraries}/ld.so.cache /etc/ld.so.cache
exec {exim} -C {base}/exim.conf -bdf
"""

# Debian's paths are in the files of its package: here they lead to the test's folders.
DEBIAN_SCRIPT = """\
set -e
cp {libraries}/ld.so.cache {base}/passwd {base}/group {base}/etc
mount --bind {base}/sbin /usr/sbin
mount --bind {base}/etc /etc
mount --bind {base}/var /var
mount -t tmpfs tmpfs /run
mkdir /run/exim4
chown {user} /run/exim4
update-exim4.conf
exec exim4 -bdf -oX 127.0.0.1.{port}
"""

DEBIAN_CHOICES = f"""\
dc_eximconfig_configtype='internet'
dc_other_hostnames='{DOMAIN}'
dc_local_interfaces='127.0.0.1'
dc_readhost=''
dc_relay_domains=''
dc_minimaldns='false'
dc_relay_nets='{RELAY}'
dc_smarthost=''
CFILEMODE='644'
dc_hide_mailname=''
dc_mailname_in_oh='true'
dc_localdelivery='mail_spool'
"""

DEBIAN_ETC = ("hosts", "nsswitch.conf", "services", "protocols", "localtime", "ld.so.conf.d", "alternatives")


def shipped(name, patience="60s"):
    """The text of a file of conf/, as it is installed, but for how long Exim waits: a machine may be busy."""
    with open(os.path.join(bleytest.BUILD, "data", "conf", name), encoding="utf-8") as stream:
        text = stream.read()
    if "${readsocket" in text and text.count("{5s}") != 1:
        raise AssertionError(f"{name}: not one time of 5 s")
    return text.replace("{5s}", f"{{{patience}}}")


@functools.cache
def libraries(root):
    """A folder with the libraries below root and a cache of them. Exim runs itself anew with other rights for a delivery, where
    LD_LIBRARY_PATH is ignored: this is the name space's own."""
    folder = tempfile.mkdtemp(prefix="bley-exim-", dir="/tmp")
    atexit.register(shutil.rmtree, folder, True)
    os.chmod(folder, 0o755)
    for path in glob.glob(os.path.join(root, "usr/lib/*-linux-*/lib*.so.*")):
        shutil.copy(path, folder)
    conf, cache = (os.path.join(folder, name) for name in ("ld.so.conf", "ld.so.cache"))
    with open("/etc/ld.so.conf", encoding="utf-8") as system, open(conf, "w", encoding="utf-8") as ours:
        ours.write(system.read() + folder + "\n")
    subprocess.run(["ldconfig", "-X", "-f", conf, "-C", cache], check=True, stderr=subprocess.DEVNULL)
    os.chmod(cache, 0o644)
    return folder


class Exim:
    """acl: for acl_check_rcpt; macros: more lines for the beginning of the configuration; more: further ACLs."""

    script = SCRIPT

    def __init__(self, test, kind, acl, macros="", more=""):
        self.test = test
        test.need("unshare", "nsenter")
        self.base = tempfile.mkdtemp(prefix="bley-exim-", dir="/tmp")
        test.addCleanup(self.remove)
        os.chmod(self.base, 0o755)
        self.root = os.path.join(bleytest.BUILD, "roots", kind)
        if not os.access(os.path.join(self.root, "usr/sbin/exim4"), os.X_OK):
            test.need(f"{kind}/exim4")
        self.port = bleytest.free_port()
        self.namespace = None
        self.users()
        self.install(acl, macros, more)
        self.process = test.start(["unshare", "-m", "--propagation", "private", "sh", "-c", self.script.format(
            base=self.base, exim=self.program, port=self.port, user=USER, libraries=libraries(self.root))], log="exim.out")
        test.wait_for_port(self.port, process=self.process)
        self.namespace = os.readlink(f"/proc/{self.process.pid}/ns/mnt")

    def install(self, acl, macros, more):
        # It runs itself as its own user, who may not be let into the build folder, and needs its rights back for a delivery.
        self.program = self.copy_program("exim4")
        self.configuration = ["-C", self.path("exim.conf")]
        self.folders("spool", "log", "inbox")
        self.mailbox = self.path("inbox", "mbox")
        self.logs = self.path("log")
        self.write("exim.conf", CONF.format(exim=self.program, base=self.base, domain=DOMAIN, port=self.port, acl=acl, user=USER,
                                            macros=macros, more=more, relay=RELAY))

    def processes(self):
        """Those in its name space: sessions and deliveries may outlive the daemon."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/ns/mnt") == self.namespace:
                    found.append(int(pid))
            except OSError:
                pass
        return found

    def remove(self):
        def all_ended():
            pids = self.processes()
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return not pids

        self.test.wait_until(all_ended, "the end of Exim's processes")
        shutil.rmtree(self.base, True)

    def path(self, *names):
        return os.path.join(self.base, *names)

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(path, 0o644)

    def copy_program(self, name):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy(os.path.join(self.root, "usr/sbin/exim4"), path)
        os.chmod(path, 0o4755)
        return path

    def folders(self, *names):
        """Folders that are Exim's own."""
        for name in names:
            os.makedirs(self.path(name), 0o755)
            os.chown(self.path(name), USER_ID, USER_ID)

    def users(self):
        for name, text in (("passwd", PASSWD), ("group", f"{USER}:x:{USER_ID}:\n")):
            with open(f"/etc/{name}", encoding="utf-8") as stream:
                self.write(name, stream.read() + text)

    def run(self, *arguments, **options):
        """Exim once more, in the same name space; a CompletedProcess."""
        return self.test.run_program(["nsenter", "-m", "-t", str(self.process.pid), self.program, *self.configuration, *arguments],
                                     **options)

    def session(self, helo="friend", source=STRANGER):
        smtp = smtplib.SMTP("127.0.0.1", self.port, local_hostname=helo, timeout=bleytest.PATIENCE * 4, source_address=(source, 0))
        smtp.ehlo()
        return smtp

    def messages(self):
        """What was delivered, each as text."""
        try:
            with open(self.mailbox, encoding="utf-8") as stream:
                return re.split(r"(?m)^From ", stream.read())[1:]
        except FileNotFoundError:
            return []

    def log(self):
        texts = []
        for path in sorted(glob.glob(os.path.join(self.logs, "*"))):
            with open(path, encoding="utf-8", errors="replace") as stream:
                texts.append(stream.read())
        return "".join(texts)


class DebianExim(Exim):
    """Exim with the configuration of Debian's exim4-config, made by its update-exim4.conf. files: what people add below
    /etc/exim4, name and text."""

    script = DEBIAN_SCRIPT

    def __init__(self, test, kind, files, split=True):
        self.files = files
        self.choices = DEBIAN_CHOICES + f"dc_use_split_config='{'true' if split else 'false'}'\n"
        super().__init__(test, kind, None)

    def install(self, acl, macros, more):
        self.copy_program("sbin/exim4")
        self.program = "/usr/sbin/exim4"
        self.configuration = []
        for name in ("usr/sbin/update-exim4.conf", "etc/exim4"):
            source = os.path.join(self.root, name)
            target = self.path(name.removeprefix("usr/"))
            if os.path.isdir(source):
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)
        for name in DEBIAN_ETC:
            self.copy_etc(name)
        self.write("etc/aliases", "")
        self.write("etc/mailname", DOMAIN + "\n")
        self.write("etc/exim4/update-exim4.conf.conf", self.choices)
        for name, text in self.files.items():
            self.write(os.path.join("etc/exim4", name), text)
        self.folders("var/spool/exim4", "var/log/exim4", "var/lib/exim4")
        self.logs = self.path("var/log/exim4")
        for name in ("var/mail", "var/tmp"):
            os.makedirs(self.path(name))
            os.chmod(self.path(name), 0o1777)
        self.mailbox = self.path("var/mail/bob")

    def copy_etc(self, name):
        source = os.path.join("/etc", name)
        if os.path.isdir(source):
            shutil.copytree(source, self.path("etc", name), symlinks=True)
        elif os.path.exists(source):
            shutil.copy(source, self.path("etc", name))
