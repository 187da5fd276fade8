# SPDX-License-Identifier: BSD-3-Clause
"""Much mail at once. What becomes of a recipient is known from its name, so that an answer lost, or given to another's request, shows:

    good-N  is whitelisted: taken, DUNNO
    bad-N   is new: deferred, DEFER_IF_PERMIT
    old-N   has waited: taken, PREPEND, and the message has one header

Every message goes to one of each, in any order. BLEY_TEST_MESSAGES (make load MESSAGES=20000) says how many there are; a check has few.
"""

import collections
import glob
import itertools
import os
import random
import re
import signal
import socket
import sqlite3
import sys
import threading
import time
import unittest

import bleytest
import supervise
from postfix import DOMAIN, Postfix, main_cf

MESSAGES = int(os.environ.get("BLEY_TEST_MESSAGES", "320"))
CONNECTIONS = 40
GROWTH_KIB = 256  # what is no growth: a buffer that has met a longer request

CLIENT = "203.0.113.7"
KINDS = {"good": (250, "DUNNO"), "bad": (450, "DEFER_IF_PERMIT"), "old": (250, "PREPEND")}

# A transport that starts no process for a message: into one maildir.
SETTINGS = f"""\
mydestination =
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_base = {{base}}
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
in_flow_delay = 0
"""
SERVICES = "virtual unix - n n - 4 virtual\n"


def address(kind, number):
    return f"{kind}-{number}@{DOMAIN}"


def memory(pid):
    """KiB of a process that are its own, or None where there is none."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as stream:
            found = re.search(r"RssAnon:\s+(\d+) kB", stream.read())
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(found.group(1)) if found else None


class Traffic:
    """policy(conf) starts what serves, and returns its address."""

    def setUp(self):
        super().setUp()
        self.need_root()
        supervise.give_to_nobody(self)

    def begin(self):
        conf = self.write_conf(cache_valid=0, db_timeout=30)
        self.write("whitelist_recipients", "/^good-/\n")
        self.assertEqual(self.bleyctl("init").returncode, 0)
        self.own_database()
        host, port = self.policy(conf)
        self.postfix = Postfix(self, main_cf("inet:127.0.0.1:1337", f"inet:{host}:{port}"), SERVICES)
        self.postfix.settings += SETTINGS.format(base=self.postfix.base)
        self.postfix.start()
        self.answers = {}

    def own_database(self):
        for path in glob.glob(self.database() + "*"):
            os.chown(path, 65534, 65534)

    def know_old(self, first, count):
        """These have been deferred an hour ago."""
        connection = sqlite3.connect(self.database(), timeout=bleytest.PATIENCE)
        with connection:
            connection.executemany(
                "INSERT INTO bley_status (ip, status, last_action, sender, recipient, fail_count)"
                f" VALUES ('{CLIENT}', 2, datetime('now', '-1 hour'), ?, ?, 0)",
                ((f"sender-{n}@example.net", address("old", n)) for n in range(first, first + count)))
        connection.close()
        self.own_database()

    def session(self):
        return self.postfix.session(CLIENT, helo="friend")

    def send(self, session, number):
        recipients = [address(kind, number) for kind in KINDS]
        random.Random(number).shuffle(recipients)
        answers = session.try_to_send(f"sender-{number}@example.net", recipients)
        self.answers.update(answers)

    def expected(self, recipient):
        return KINDS[recipient.partition("-")[0]]

    def assert_answers(self, allow=()):
        """Each recipient has its own; allow: pairs of kind and code that are right, too. Returns those."""
        other = []
        for recipient, (code, text) in self.answers.items():
            kind = recipient.partition("-")[0]
            if (kind, code) in allow:
                other.append(recipient)
            elif code != self.expected(recipient)[0] or code == 450 and text != (
                    f"4.7.1 <{recipient}>: Recipient address rejected: greylisted, try again later"):
                self.fail(f"{recipient}: {code} {text}\n" + "\n".join(self.postfix.log()[-20:] + self.log_lines()[-20:]))
        return other

    def delivered(self):
        """How many messages each recipient has, and how many headers of ours are in each."""
        found = {}
        for path in glob.glob(self.postfix.path("inbox", "new", "*")):
            with open(path, encoding="utf-8") as stream:
                text = stream.read()
            recipient = re.search(r"(?m)^Delivered-To: (.*)$", text).group(1)
            found.setdefault(recipient, []).append(text.count("\nX-Greylist: "))
        return found

    def wait_for_deliveries(self):
        """Whatever was taken is delivered, once."""
        taken = {recipient for recipient, (code, _) in self.answers.items() if code == 250}
        count = lambda: len(os.listdir(self.postfix.path("inbox", "new")))  # noqa: E731
        self.wait_until(lambda: count() >= len(taken), f"{len(taken)} deliveries", bleytest.PATIENCE + len(taken) / 20)
        found = self.delivered()
        self.assertEqual(set(found), taken)
        self.assertEqual({recipient: numbers for recipient, numbers in found.items() if len(numbers) != 1}, {})
        return found

    def in_sessions(self, count, numbers_of, pause=lambda: None):
        """Sends messages through so many sessions at once: numbers_of(N) gives those of the Nth, and None where it is to wait for all
        others. At each such place, and once all sessions are open, pause() is called."""
        together = threading.Barrier(count, pause, 3600)

        def talk(which):
            try:
                with self.session() as session:
                    together.wait()
                    for number in numbers_of(which):
                        if number is None:
                            together.wait()
                        else:
                            self.send(session, number)
            except threading.BrokenBarrierError:
                pass  # because of another, which tells why
            except BaseException:
                together.abort()
                raise

        bleytest.in_threads(talk, [(which,) for which in range(count)])


class Load(Traffic):
    """No answer is lost and none is crossed; the handlers last, do not grow, and leave nobody behind."""

    def test_much_mail(self):
        self.begin()
        self.know_old(0, MESSAGES)
        began = time.monotonic()
        every, sizes = range(MESSAGES), []
        self.in_sessions(CONNECTIONS, lambda which: [*every[:MESSAGES // 4][which::CONNECTIONS], None,
                                                     *every[MESSAGES // 4:][which::CONNECTIONS], None],
                         lambda: sizes.append({pid: memory(pid) for pid in self.handlers()}))
        seconds = time.monotonic() - began
        self.assertEqual(len(self.answers), MESSAGES * len(KINDS))
        self.assert_answers()
        found = self.wait_for_deliveries()
        self.assertEqual({recipient for recipient, numbers in found.items() if numbers != [1]}, set())
        self.assert_database()
        _, early, late = sizes
        grown = [late[pid] - early[pid] for pid in early if pid in late]
        self.assertGreaterEqual(len(grown), CONNECTIONS)
        if not bleytest.instrumented():
            self.assertLessEqual(max(grown), GROWTH_KIB, sizes)
        self.assertFalse([line for line in self.log_lines() if "error: " in line or "warning: " in line])
        self.assertFalse([line for line in self.postfix.log() if "policy" in line or "problem" in line])
        self.assert_nobody_left()
        if "BLEY_TEST_MESSAGES" in os.environ:
            print(f"{type(self).__name__}: {MESSAGES} messages, {len(self.answers)} requests, {CONNECTIONS} connections in {seconds:.1f} s"
                  f" ({len(self.answers) / seconds:.0f} requests/s); {len(grown)} handlers grew by"
                  f" {min(grown)} to {max(grown)} KiB after a quarter, to {max(late.values())}", file=sys.stderr)

    def assert_database(self):
        """Each request had its own decision: what bley has written agrees with what Postfix was told."""
        every = range(MESSAGES)
        rows = self.rows("SELECT sender, recipient, status, fail_count FROM bley_status")
        self.assertEqual(sorted(rows), sorted((f"sender-{n}@example.net", address(kind, n), status, 0)
                                              for n in every for kind, status in (("bad", 2), ("old", 0))))
        count = MESSAGES * len(KINDS)
        self.wait_until(lambda: self.rows("SELECT count(*) FROM bley_log") == [(count,)], f"{count} rows in the log")
        logged = collections.Counter(self.rows("SELECT recipient, action FROM bley_log"))
        self.assertEqual(set(logged.values()), {1})
        # one header for a message: PREPEND is said once, and there is one old recipient in each
        self.assertEqual(set(logged), {(address(kind, n), action) for n in every for kind, (_, action) in KINDS.items()})

    def assert_nobody_left(self):
        handlers = self.handlers()
        self.postfix.stop()
        self.end_policy()
        self.wait_until(lambda: not any(memory(pid) for pid in handlers), "the end of the handlers")


class LoadXinetd(Load, bleytest.TestCase):
    """A process for each connection, which lasts as long."""

    def policy(self, conf):
        found = supervise.xinetd(self, conf)
        with open(self.path("xinetd.pid"), encoding="ascii") as stream:
            self.pid = int(stream.read())
        return found

    def handlers(self):
        return supervise.children(self.pid)

    def end_policy(self):
        self.wait_until(lambda: not self.handlers(), "the end of the handlers while xinetd lives")


class LoadWarm(Load, bleytest.TestCase):
    def policy(self, conf):
        self.process, addresses = supervise.warm(self, [f"127.0.0.1:{bleytest.free_port()}"], conf)
        return addresses[0]

    def handlers(self):
        return supervise.children(self.process.pid)

    def end_policy(self):
        bleytest.stop(self.process, bleytest.PATIENCE)


class Restart(Traffic):
    """The super-server is stopped and started while mail comes in: none is lost, and none is rejected but by bley."""

    SESSIONS = 12
    RESTARTS = 3
    BETWEEN = 25   # messages
    MOST = 20000
    allow = ()

    def test_restart_in_mid_traffic(self):
        self.begin()
        self.know_old(0, self.MOST)
        enough = threading.Event()
        running = threading.Thread(target=self.restart_again_and_again, args=(enough,))
        self.failure = None
        running.start()
        numbers = itertools.count()
        self.in_sessions(self.SESSIONS,
                         lambda which: itertools.takewhile(lambda number: number < self.MOST and not enough.is_set(), numbers))
        running.join()
        if self.failure:
            raise self.failure
        other = self.assert_answers(self.allow)
        self.wait_for_deliveries()
        warnings = [line for line in self.postfix.log() if re.search(r"smtpd\[.*warning: .*127\.0\.0\.1:", line)]
        self.assertLessEqual(len(other), len(warnings), "\n".join(self.postfix.log()[-40:]))
        self.assertFalse([line for line in self.log_lines() if "error: " in line])
        handlers = {re.search(r"bley\[(\d+)\]", line).group(1) for line in self.log_lines()}
        self.assertGreater(len(handlers), self.SESSIONS)
        last = max(int(re.search(r"-(\d+)@", recipient).group(1)) for recipient in self.answers)
        self.assertGreaterEqual(last, self.RESTARTS * self.BETWEEN)
        # and afterwards all is well
        with self.session() as session:
            self.send(session, last + 1)
        self.assert_answers([pair for pair in self.allow if other])
        self.assertEqual(self.answers[address("bad", last + 1)][0], 450)

    def restart_again_and_again(self, enough):
        try:
            for turn in range(self.RESTARTS):
                self.wait_for_messages(self.BETWEEN)
                self.restart(turn)
            self.wait_for_messages(self.BETWEEN)
        except BaseException as error:
            self.failure = error
        finally:
            enough.set()

    def wait_for_messages(self, count):
        before = len(self.answers)
        self.wait_until(lambda: len(self.answers) >= before + count * len(KINDS), f"{count} more messages", bleytest.PATIENCE * 3)


class RestartWarm(Restart, bleytest.TestCase):
    """As under systemd: the listening socket outlives bley, so that every single answer is as if nothing had happened."""

    def policy(self, conf):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.addCleanup(self.listener.close)
        self.command = [bleytest.bley_for_all(self), "-c", conf]
        self.run_bley()
        return self.listener.getsockname()

    def run_bley(self):
        self.process = self.start(self.command, log="bley.out", stdin=self.listener, user=supervise.NOBODY, group="nogroup")

    def restart(self, turn):
        bleytest.stop(self.process, bleytest.PATIENCE)
        self.run_bley()


class RestartXinetd(Restart, bleytest.TestCase):
    """Its handlers outlive it, unless a service manager ends them, too. Nobody listens until it is back: in that time default_action
    lets mail pass."""

    allow = (("bad", 250),)

    def policy(self, conf):
        found = supervise.xinetd(self, conf)
        self.command = [self.need("xinetd"), "-dontfork", "-f", self.path("xinetd.conf"), "-pidfile", self.path("xinetd.pid"),
                        "-filelog", self.path("xinetd.log")]
        self.port = found[1]
        return found

    def restart(self, turn):
        with open(self.path("xinetd.pid"), encoding="ascii") as stream:
            pid = int(stream.read())
        if turn == 0:
            os.kill(pid, signal.SIGHUP)
            return
        handlers = supervise.children(pid) if turn == 1 else []
        for each in [pid, *handlers]:
            os.kill(each, signal.SIGTERM)
        self.wait_until(lambda: not memory(pid), "the end of xinetd")
        self.wait_for_port(self.port, process=self.start(self.command, log="xinetd.out"))
        self.wait_until(lambda: os.path.exists(self.path("xinetd.pid")), "xinetd's pid file")


class RestartSocketActivate(Restart, bleytest.TestCase):
    """It ends its handlers, and nobody listens until it is back."""

    allow = (("bad", 250),)

    def policy(self, conf):
        self.listen, self.conf = f"127.0.0.1:{bleytest.free_port()}", conf
        return self.activate()

    def activate(self):
        self.process, addresses = supervise.start_socket_activate(self, [self.listen], self.conf, ["--accept", "--inetd"])
        return addresses[0]

    def restart(self, turn):
        bleytest.stop(self.process, bleytest.PATIENCE)
        self.activate()


if __name__ == "__main__":
    unittest.main()
