# SPDX-License-Identifier: BSD-3-Clause
"""A Postfix of the test's own: its own configuration, queue and log, on a port of 127.0.0.1, with the machine's programs.

    postfix = Postfix(self, main_cf("inet:127.0.0.1:1337", "inet:127.0.0.1:4711"))
    postfix.start()
    with postfix.session("203.0.113.7", helo="friend") as session:
        self.assertEqual(session.rcpt("b@test.example")[0], 450)
"""

import glob
import os
import re
import shutil
import smtplib
import subprocess
import tempfile

import bleytest

DOMAIN = "test.example"

# Postfix waits at a start while main.cf is younger than two seconds.
MAIN_CF_AGE = 60

# What `postfix check` would make, and take two seconds for.
QUEUE_OWN = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")
QUEUE_GROUP = {"maildrop": 0o1730, "public": 0o2710}

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {base}/spool
data_directory = {base}/data
command_directory = {commands}
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {base}/mail.log
maillog_file_prefixes = {prefix}
syslog_name = postfix
myhostname = mx.{domain}
mydomain = {domain}
mydestination = {domain}
inet_interfaces = 127.0.0.1
inet_protocols = all
mynetworks =
local_recipient_maps =
alias_maps =
alias_database =
smtp_dns_support_level = disabled
smtp_host_lookup = native
disable_dns_lookups = yes
smtpd_peername_lookup = no
local_transport = inbox
inbox_destination_recipient_limit = 1
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - {chroot} - {processes} smtpd
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
error     unix - - n - - error
retry     unix - - n - - error
anvil     unix - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
inbox     unix - n n - 10 pipe flags=DRq user=nobody argv={base}/etc/deliver ${{queue_id}} ${{recipient}}
"""

# Postfix may give up waiting for an answer much later on a busy machine; the tests know how long they wait.
TIMEOUT = "timeout=60s"

DELIVER = """\
#!/bin/sh
# A message becomes the file QUEUE-ID.RECIPIENT, whole or not at all.
umask 022
cat >'{base}/inbox/.'"$1.$2" && mv '{base}/inbox/.'"$1.$2" '{base}/inbox/'"$1.$2"
"""


def main_cf(service, there=None):
    """The lines for main.cf that we ship, for the service of this name; there: where it is in the test."""
    with open(os.path.join(bleytest.BUILD, "data", "conf", "postfix-main.cf.example"), encoding="utf-8") as stream:
        text = stream.read()
    text = re.sub(r"(?m)^(?=bley_policy =)", "#", text)
    text, count = re.subn(rf"(?m)^#(bley_policy = {{ {re.escape(service)}, timeout=10s, default_action=DUNNO }}(\n#bley_.*_limit = .*)?)$",
                          lambda match: match.group(1).replace("#", ""), text)
    if count != 1:
        raise AssertionError(f"{service} stands {count} times in postfix-main.cf.example")
    return text.replace("timeout=10s", TIMEOUT).replace(service, there or service)


class Session(smtplib.SMTP):
    """One SMTP session, in the name of any client by XCLIENT; address None: in its own."""

    def __init__(self, port, address, name, helo, host="127.0.0.1"):
        super().__init__(host, port, local_hostname=helo, timeout=bleytest.PATIENCE * 3)
        self.ehlo(helo)
        if not address:
            return
        address = f"IPV6:{address}" if ":" in address else address
        code, text = self.docmd("XCLIENT", f"ADDR={address} NAME={name or '[UNAVAILABLE]'}")
        if code != 220:
            raise AssertionError(f"XCLIENT: {code} {text}")
        self.ehlo(helo)

    def try_to_send(self, sender, recipients, text="Subject: test\r\n\r\nhello\r\n", options=()):
        """Sends to those recipients that are taken; returns each one's answer (code, text)."""
        code, answer = self.mail(sender, options)
        if code != 250:
            raise AssertionError(f"MAIL FROM: {code} {answer}")
        answers = {}
        for recipient in recipients:
            code, answer = self.rcpt(recipient)
            answers[recipient] = (code, answer.decode("utf-8", "replace"))
        if any(code == 250 for code, _ in answers.values()):
            code, answer = self.data(text)
            if code != 250:
                raise AssertionError(f"DATA: {code} {answer}")
        else:
            self.rset()
        return answers


class Postfix:
    def __init__(self, test, settings, services="", processes=150, chroot=False):
        """settings: more lines of main.cf, as from main_cf(); services: of master.cf; chroot: whether smtpd is in one."""
        test.need_root()
        self.program = test.need("postfix")
        self.test = test
        self.base = tempfile.mkdtemp(prefix="postfix-", dir=test.tmp)
        os.chmod(self.base, 0o755)
        self.port = bleytest.free_port()
        self.values = {
            "base": self.base, "port": self.port, "domain": DOMAIN, "processes": processes, "chroot": "y" if chroot else "n",
            "prefix": os.path.join("/", *self.base.split("/")[:2]),
            "commands": os.path.dirname(self.program), "daemons": self.default("daemon_directory"),
        }
        self.services = services
        self.settings = settings
        os.mkdir(self.path("spool"), 0o755)

    def default(self, name):
        postconf = self.test.need("postconf")
        return subprocess.run([postconf, "-dh", name], check=True, capture_output=True, text=True).stdout.strip()

    def path(self, *names):
        return os.path.join(self.base, *names)

    def start(self):
        self.make_folders()
        past = os.stat(self.base).st_mtime - MAIN_CF_AGE
        for name, text, mode in (("main.cf", MAIN_CF.format(**self.values) + self.settings, 0o644),
                                 ("master.cf", MASTER_CF.format(**self.values) + self.services, 0o644),
                                 ("deliver", DELIVER.format(**self.values), 0o755)):
            path = self.path("etc", name)
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chmod(path, mode)
            os.utime(path, (past, past))
        with open(self.path("start.log"), "wb") as log:
            self.process = subprocess.Popen([self.program, "-c", self.path("etc"), "start-fg"], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        self.test.addCleanup(self.stop)
        for port in re.findall(r"(?m)^\S+:(\d+) inet ", MASTER_CF.format(**self.values) + self.services):
            self.test.wait_for_port(int(port), process=self.process)

    def make_folders(self):
        for name in ("etc", "data", "inbox"):
            os.mkdir(self.path(name), 0o755)
        shutil.chown(self.path("data"), "postfix")
        shutil.chown(self.path("inbox"), "nobody")
        os.mkdir(self.path("spool", "pid"), 0o755)
        for name in QUEUE_OWN:
            os.mkdir(self.path("spool", name), 0o700)
            shutil.chown(self.path("spool", name), "postfix")
        for name, mode in QUEUE_GROUP.items():
            os.mkdir(self.path("spool", name))
            shutil.chown(self.path("spool", name), "postfix", "postdrop")
            os.chmod(self.path("spool", name), mode)
        with open(self.path("spool", "quick-start"), "w", encoding="ascii"):
            pass

    def stop(self):
        """The master takes all of its processes with it."""
        if self.process.poll() is None:
            subprocess.run([self.program, "-c", self.path("etc"), "stop"], check=False, stdin=subprocess.DEVNULL,
                           capture_output=True)
        bleytest.stop(self.process)

    def session(self, address=None, name=None, helo="client.example.net", port=None, host="127.0.0.1"):
        return Session(port or self.port, address, name, helo, host)

    def log(self):
        """The lines of its log."""
        try:
            with open(self.path("mail.log"), encoding="utf-8", errors="replace") as stream:
                return stream.read().splitlines()
        except FileNotFoundError:
            return []

    def wait_for_log(self, pattern, count=1):
        """The lines that match, once there are so many."""
        def found():
            lines = [line for line in self.log() if re.search(pattern, line)]
            return lines if len(lines) >= count else None
        try:
            return self.test.wait_until(found, f"{count} lines like {pattern!r} in Postfix's log")
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + "\n".join(self.log())) from None

    def inbox(self, recipient="*"):
        """The messages delivered to a recipient, as text."""
        messages = []
        for path in sorted(glob.glob(self.path("inbox", f"*.{recipient}"))):
            with open(path, encoding="utf-8") as stream:
                messages.append(stream.read())
        return messages

    def wait_for_mail(self, recipient, count=1):
        try:
            return self.test.wait_until(lambda: len(self.inbox(recipient)) >= count and self.inbox(recipient),
                                        f"{count} messages for {recipient}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + "\n".join(self.log())) from None
