# SPDX-License-Identifier: BSD-3-Clause
"""An Exim of the test's own, out of a package that bootstrap has unpacked: in a mount name space in which its user and its
libraries are there, on a port of 127.0.0.1, with the ACL under test."""

import glob
import os
import re
import shutil
import smtplib
import tempfile

import bleytest

DOMAIN = "test.example"
USER = "Debian-exim"
USER_ID = 3177  # in the name space only

CONF = """\
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
smtputf8_advertise_hosts =
acl_smtp_rcpt = acl_check_rcpt
domainlist local_domains = {domain}
domainlist relay_to_domains =
hostlist relay_from_hosts =
begin acl
acl_check_rcpt:
{acl}
  accept domains = +local_domains
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
"""

# Exim runs itself anew with other rights for a delivery, where LD_LIBRARY_PATH is ignored: so the name space has a cache of
# libraries of its own.
SCRIPT = """\
set -e
mount --bind {base}/passwd /etc/passwd
mount --bind {base}/group /etc/group
ldconfig -X -f {base}/ld.so.conf -C {base}/ld.so.cache 2>/dev/null
chmod 644 {base}/ld.so.cache
mount --bind {base}/ld.so.cache /etc/ld.so.cache
exec {exim} -C {base}/exim.conf -bdf
"""


class Exim:
    def __init__(self, test, kind, acl):
        self.test = test
        self.base = tempfile.mkdtemp(prefix="bley-exim-", dir="/tmp")
        test.addCleanup(shutil.rmtree, self.base, True)
        os.chmod(self.base, 0o755)
        root = os.path.join(bleytest.BUILD, "roots", kind)
        unpacked = os.path.join(root, "usr/sbin/exim4")
        if not os.access(unpacked, os.X_OK):
            test.need(f"{kind}/exim4")
        # It runs itself as its own user, who may not be let into the build folder, and needs its rights back for a delivery.
        self.program = os.path.join(self.base, "exim4")
        shutil.copy(unpacked, self.program)
        os.chmod(self.program, 0o4755)
        self.port = bleytest.free_port()
        self.folders(root)
        self.write("exim.conf", CONF.format(exim=self.program, base=self.base, domain=DOMAIN, port=self.port, acl=acl, user=USER))
        process = test.start(["unshare", "-m", "--propagation", "private", "sh", "-c",
                              SCRIPT.format(base=self.base, exim=self.program)], log="exim.out")
        test.wait_for_port(self.port, process=process)

    def write(self, name, text):
        path = os.path.join(self.base, name)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(path, 0o644)

    def folders(self, root):
        for name in ("spool", "log", "inbox", "lib"):
            os.mkdir(os.path.join(self.base, name), 0o755)
            os.chown(os.path.join(self.base, name), USER_ID, USER_ID)
        for path in glob.glob(os.path.join(root, "usr/lib/*-linux-*/lib*.so.*")):
            shutil.copy(path, os.path.join(self.base, "lib"))
        with open("/etc/passwd", encoding="utf-8") as stream:
            self.write("passwd", stream.read() + f"{USER}:x:{USER_ID}:{USER_ID}::/nonexistent:/usr/sbin/nologin\n")
        with open("/etc/group", encoding="utf-8") as stream:
            self.write("group", stream.read() + f"{USER}:x:{USER_ID}:\n")
        with open("/etc/ld.so.conf", encoding="utf-8") as stream:
            self.write("ld.so.conf", stream.read() + self.base + "/lib\n")

    def session(self, helo="friend"):
        smtp = smtplib.SMTP("127.0.0.1", self.port, local_hostname=helo, timeout=bleytest.PATIENCE * 4)
        smtp.ehlo()
        return smtp

    def messages(self):
        """What was delivered, each as text."""
        try:
            with open(os.path.join(self.base, "inbox", "mbox"), encoding="utf-8") as stream:
                return re.split(r"(?m)^From ", stream.read())[1:]
        except FileNotFoundError:
            return []

    def log(self):
        return "".join(open(path, encoding="utf-8", errors="replace").read()
                       for path in sorted(glob.glob(os.path.join(self.base, "log", "*"))))
