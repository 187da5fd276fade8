#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""soak.py [--minutes N] [--seed N]: mixed mail through a real Postfix and a real Exim at once, with faults at random (make soak).

Rounds take the databases in turn. In each, senders work while faults come, and then, without faults, until every message is delivered.
Postfix asks bley in warm mode, Exim asks it through xinetd. What becomes of a recipient is known from its name:

    good-N  is whitelisted: always taken
    new-N   is deferred, tried again when it has waited, and then taken; while something is broken it may be taken at once

Held at the end of each round: no answer but these; every message that was taken is delivered once; every deferred tuple is in the
database; each decision that bley tells in its log has its row there, but for those that a killed handler or a broken database took along (and
for whitelisted ones that need no database, while there is none); where nothing was broken, exactly; no process is left; a lasting handler has not grown. Prints what each round did; exit status 1 if
something does not hold.
"""

import argparse
import collections
import contextlib
import glob
import heapq
import itertools
import os
import random
import re
import signal
import smtplib
import socket
import sqlite3
import sys
import threading
import time

import bleytest
import servers
import supervise
from exim import Exim, shipped
from postfix import DOMAIN, Postfix, main_cf

ENGINES = ("sqlite3", "pgsql", "mysql")
FAULTY_SECONDS = 110
WAIT = 8               # greylist_period, seconds
RETRY = WAIT + 1.5     # and what a sender waits
CALM_MESSAGES = 200    # sent while nothing is broken
POSTFIX_SENDERS, EXIM_SENDERS = 6, 2
CLIENT = {"postfix": "203.0.113.7", "exim": "127.0.0.2"}
PASSWORD = "s0ak-s3cret"
ANSWER_MOST = 60       # seconds for an answer to RCPT TO: far beyond every deadline, even on a machine that is busy
GROWTH_KIB = 1024
ROWS_MOST = 64         # that a handler gathers before it writes them
DONE_SECONDS = 240     # for all messages to be delivered once nothing is broken

POSTFIX_SETTINGS = f"""
mydestination =
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_base = {{base}}
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
in_flow_delay = 0
"""
POSTFIX_SERVICES = "virtual unix - n n - 4 virtual\n"


class Database:
    """One engine: its settings, its faults, and how to look into it. The server lasts for all rounds."""

    def __init__(self, kind):
        self.kind = kind
        self.server = None

    def begin(self, test):
        self.test = test
        if self.kind == "sqlite3":
            return {}
        if not self.server:
            # what has been answered must outlive the server's end, if not the machine's
            self.server = (servers.PostgreSQL(synchronous_commit="on") if self.kind == "pgsql"
                           else servers.MariaDB("--innodb-flush-log-at-trx-commit=2"))
        self.name = self.server.database()
        return {"dbtype": self.kind, "dbhost": self.server.host, "dbport": self.server.port, "dbname": self.name,
                "dbuser": "bley", "dbpass": "bley"}

    def rows(self, query):
        if self.server:
            return [tuple(line.split("\t")) for line in self.server.sql(query, self.name).splitlines()]
        with contextlib.closing(sqlite3.connect(self.test.database(), timeout=bleytest.PATIENCE)) as connection:
            return [tuple(map(str, row)) for row in connection.execute(query)]

    def pids(self):
        pid = self.server.process.pid
        return [pid, *supervise.children(pid)]

    def freeze(self, pause):
        if not self.server:
            return self.lock(pause)
        pids = self.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        pause()
        self.test.thaw(*pids)
        return True

    def lock(self, pause):
        with contextlib.closing(sqlite3.connect(self.test.database(), timeout=bleytest.PATIENCE, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            pause()
            connection.execute("ROLLBACK")
        return True

    def kill(self, pause):
        if not self.server:
            return False
        self.server.stop(signal.SIGKILL)
        pause()
        self.server.start()
        return True

    def restart(self, pause):
        if not self.server:
            return False
        self.server.stop()
        pause()
        self.server.start()
        return True

    def end(self):
        if self.server:
            self.server.remove()


class Message:
    """One message from one sender to a new and a good recipient, through one of the two, until both have it."""

    def __init__(self, mta, number):
        self.mta = mta
        self.number = number
        self.sender = f"sender-{number}@example.net"
        self.waiting = [f"new-{number}@{DOMAIN}"]
        if number % 2:
            self.waiting.append(f"good-{number}@{DOMAIN}")
        self.waited = False  # it has been deferred and has come back when it should


class Round(bleytest.TestCase):
    """All that one round starts; it is a test case for the sake of its cleanups."""

    def runTest(self):
        pass

    def begin(self, database, seed):
        self.database_kind, self.random = database, random.Random(seed)
        supervise.give_to_nobody(self)
        self.write("whitelist_recipients", "/^good-/\n")
        self.write_good_conf(database.begin(self))
        if self.bleyctl("init").returncode != 0:
            self.fail("bleyctl init")
        for path in glob.glob(self.database() + "*"):
            os.chown(path, 65534, 65534)
        self.start_bley()
        self.start_mail_servers()
        self.sync = threading.Lock()
        self.numbers = itertools.count()
        self.heap, self.heap_count = [], itertools.count()
        self.answers = collections.Counter()
        self.taken, self.deferred, self.headers = {}, set(), {}
        self.wrong, self.faults = [], collections.Counter()
        self.slowest = 0.0
        self.faulty = self.killed = 0
        self.calm_since = None
        self.newest = 0
        self.no_new, self.ended = threading.Event(), threading.Event()

    def write_good_conf(self, keys):
        self.keys = {"cache_valid": 0, "db_timeout": 3, "greylist_period": f"{WAIT}s", "greylist_penalty": 0, **keys}
        self.conf = self.write_conf(**self.keys)
        os.chown(self.conf, 65534, 65534)
        os.chmod(self.conf, 0o640)

    def start_bley(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.addCleanup(self.listener.close)
        self.program = bleytest.bley_for_all(self)
        self.run_warm()
        self.xinetd_port = supervise.xinetd(self, self.conf)[1]
        with open(self.path("xinetd.pid"), encoding="ascii") as stream:
            self.xinetd_pid = int(stream.read())

    def run_warm(self):
        self.warm = self.start([self.program, "-c", self.conf], log="bley.out", stdin=self.listener, user=supervise.NOBODY,
                               group="nogroup")

    def start_mail_servers(self):
        port = self.listener.getsockname()[1]
        self.postfix = Postfix(self, main_cf("inet:127.0.0.1:1337", f"inet:127.0.0.1:{port}"), POSTFIX_SERVICES)
        self.postfix.settings += POSTFIX_SETTINGS.format(base=self.postfix.base)
        self.postfix.start()
        self.exim = Exim(self, "exim-light", shipped("exim-acl.example").replace("{5s}", "{60s}"),
                         macros=f"BLEY_SOCKET = inet:127.0.0.1:{self.xinetd_port}")

    # --- mail --------------------------------------------------------------------------------------

    def talk(self, mta):
        """A sender: new messages, and those whose time has come, to the end of the round."""
        while not self.ended.is_set():
            message = self.next_message(mta)
            if not message:
                time.sleep(0.05)
                continue
            try:
                self.send(message)
            except (smtplib.SMTPException, OSError) as error:
                self.wrong.append(f"{mta}: message {message.number}: {error!r}")
                return

    def next_message(self, mta):
        with self.sync:
            if self.heap and self.heap[0][0] <= time.monotonic():
                message = heapq.heappop(self.heap)[2]
                message.waited = True
                return message
            if self.no_new.is_set():
                return None
            self.newest = next(self.numbers)
            return Message(mta, self.newest)

    def send(self, message):
        broken_before = self.broken()
        if message.mta == "postfix":
            session = self.postfix.session(CLIENT["postfix"], helo="friend")
        else:
            session = self.exim.session()
        with session:
            session.mail(message.sender)
            kept, any_taken = [], False
            for recipient in message.waiting:
                began = time.monotonic()
                code, text = session.rcpt(recipient)
                self.slowest = max(self.slowest, time.monotonic() - began)
                good = recipient.startswith("good-")
                was_broken = broken_before or self.broken()
                self.judge(message, recipient, code, text.decode("utf-8", "replace"), good, was_broken)
                if code == 250:
                    any_taken = True
                else:
                    kept.append(recipient)
            taken = [recipient for recipient in message.waiting if recipient not in kept]
            if any_taken:
                code, text = session.data(f"Subject: {message.number}\r\n\r\nhello\r\n")
                if code != 250:
                    raise smtplib.SMTPDataError(code, text)
        with self.sync:
            for recipient in taken:
                self.taken[recipient] = self.taken.get(recipient, 0) + 1
            message.waiting = kept
            if kept:
                heapq.heappush(self.heap, (time.monotonic() + RETRY, next(self.heap_count), message))

    def judge(self, message, recipient, code, text, good, was_broken):
        deferred = code in (450, 451) and "greylisted, try again later" in text
        right = code == 250 if good else (
            deferred and not message.waited or
            code == 250 and (message.waited or was_broken) or
            # forgotten by nobody: it may be deferred again only where its first deferral fell into something broken
            deferred and message.waited and was_broken)
        with self.sync:
            self.answers["taken" if code == 250 else "deferred" if deferred else str(code)] += 1
            if code == 250 and not good and not message.waited:
                self.answers["let through"] += 1
            if deferred:
                self.deferred.add((CLIENT[message.mta], message.sender, recipient))
            if not right:
                self.wrong.append(f"{message.mta}: {recipient}, {'waited' if message.waited else 'new'}: {code} {text}")

    # --- faults ------------------------------------------------------------------------------------

    def broken(self):
        """Whether something is, or was a moment ago: a handler notices later than it happens."""
        return self.faulty > 0 or self.calm_since is None or time.monotonic() - self.calm_since < 15

    def pause(self):
        time.sleep(self.random.uniform(0.3, 4))

    def handlers(self):
        return supervise.children(self.warm.pid) + supervise.children(self.xinetd_pid)

    def kill_a_handler(self):
        handlers = self.handlers()
        if not handlers:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.random.choice(handlers), signal.SIGKILL)
            self.killed += 1
        return True

    def restart_warm(self):
        bleytest.stop(self.warm, bleytest.PATIENCE)
        self.run_warm()
        return True

    def kill_warm(self):
        self.killed += len(supervise.children(self.warm.pid))
        self.warm.kill()
        self.warm.wait()
        self.run_warm()
        return True

    def reload_xinetd(self):
        os.kill(self.xinetd_pid, signal.SIGHUP)
        return True

    def spoil_configuration(self):
        with open(self.conf, encoding="utf-8") as stream:
            text = stream.read()
        for content in ("".join(chr(self.random.randrange(32, 127)) for _ in range(2000)), text):
            with open(self.conf, "w", encoding="utf-8") as stream:
                stream.write(content)
            self.warm.send_signal(signal.SIGHUP)
            self.pause()
        return True

    def purge(self):
        return self.bleyctl("purge").returncode in (0, 1)

    def report(self):
        return self.bleyctl("stats").returncode == 0 and self.bleyctl("list", "--limit", "10").returncode == 0

    def break_things(self):
        database = self.database_kind
        kinds = {
            "handler killed": self.kill_a_handler, "warm restarted": self.restart_warm, "warm killed": self.kill_warm,
            "xinetd reloaded": self.reload_xinetd, "configuration spoilt": self.spoil_configuration,
            "purge": self.purge, "report": self.report,
            "database frozen or locked": lambda: database.freeze(self.pause),
            "database killed": lambda: database.kill(self.pause),
            "database restarted": lambda: database.restart(self.pause),
        }
        end = time.monotonic() + FAULTY_SECONDS
        while time.monotonic() < end:
            time.sleep(self.random.uniform(0.5, 4))
            name = self.random.choice(list(kinds))
            self.faulty += 1
            try:
                if kinds[name]():
                    self.faults[name] += 1
            except Exception as error:  # whatever it is, the round has failed and must end
                self.wrong.append(f"{name}: {error!r}")
            self.calm_since = time.monotonic()
            self.faulty -= 1

    # --- a round -----------------------------------------------------------------------------------

    def run_round(self):
        threads = [threading.Thread(target=self.talk, args=(mta,), daemon=True)
                   for mta, count in (("postfix", POSTFIX_SENDERS), ("exim", EXIM_SENDERS)) for _ in range(count)]
        for thread in threads:
            thread.start()
        self.break_things()
        time.sleep(16)  # until nothing counts as broken; senders go on
        calm_from = self.newest + 1
        sizes = {pid: self.memory(pid) for pid in self.handlers()}
        deadline = time.monotonic() + DONE_SECONDS
        while self.newest < calm_from + CALM_MESSAGES and time.monotonic() < deadline:
            time.sleep(0.2)
        self.no_new.set()
        while self.heap and time.monotonic() < deadline and any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
        self.ended.set()
        for thread in threads:
            thread.join(ANSWER_MOST)
        self.check(calm_from, sizes)

    @staticmethod
    def memory(pid):
        try:
            with open(f"/proc/{pid}/status", encoding="ascii") as stream:
                return int(re.search(r"RssAnon:\s+(\d+) kB", stream.read()).group(1))
        except (OSError, AttributeError):
            return 0

    def decided(self):
        """What bley has told in its log: how often which action for which recipient, where it could decide."""
        return collections.Counter(re.search(r" decided action=(\S+) .* recipient=(\S+)", line).groups()
                                   for line in self.log_lines() if " decided action=" in line and "could not decide" not in line)

    def logged(self):
        """And what is in bley_log."""
        return collections.Counter(self.database_kind.rows("SELECT action, recipient FROM bley_log"))

    def delivered(self):
        found = collections.Counter()
        headers = []
        for path in glob.glob(self.postfix.path("inbox", "new", "*")):
            with open(path, encoding="utf-8") as stream:
                text = stream.read()
            found[re.search(r"(?m)^Delivered-To: (.*)$", text).group(1)] += 1
            headers.append(text.count("\nX-Greylist: "))
        found.update(re.findall(r" [=-]> \S+ <(\S+)> R=inbox ", self.exim.log()))
        headers += [text.count("X-Greylist: ") for text in self.exim.messages()]
        return found, headers

    def hold(self, what, truth):
        if not truth:
            self.wrong.append(what)

    def check(self, calm_from, sizes):
        self.hold(f"{len(self.heap)} messages are left", not self.heap)
        self.check_deliveries()
        self.check_tuples()
        self.check_log(calm_from)
        grown = [self.memory(pid) - size for pid, size in sizes.items() if size and self.memory(pid)]
        self.hold(f"handlers have grown: {grown}", not grown or max(grown) <= GROWTH_KIB)
        self.hold(f"an answer took {self.slowest:.1f} s", self.slowest < ANSWER_MOST)
        if self.database_kind.kind == "sqlite3":
            self.hold("integrity_check", self.database_kind.rows("PRAGMA integrity_check") == [("ok",)])
        self.end_all()

    def check_deliveries(self):
        # a delivery that found the mailbox locked waits for somebody to look at the queue
        deadline = time.monotonic() + DONE_SECONDS
        while True:
            self.exim.run("-qff")
            found, headers = self.delivered()
            if sum(found.values()) >= len(self.taken) or time.monotonic() > deadline:
                break
            time.sleep(1)
        self.hold(f"taken, not delivered: {sorted(set(self.taken) - set(found))[:5]}", set(self.taken) <= set(found))
        self.hold(f"delivered, not taken: {sorted(set(found) - set(self.taken))[:5]}", set(found) <= set(self.taken))
        twice = {recipient: count for recipient, count in found.items() if count != self.taken.get(recipient)}
        self.hold(f"delivered more or less than once: {dict(list(twice.items())[:5])}", not twice)
        self.hold(f"more than one header in a message: {max(headers, default=0)}", max(headers, default=0) <= 1)
        self.headers_seen = sum(headers)

    def check_tuples(self):
        known = {tuple(row) for row in self.database_kind.rows("SELECT ip, sender, recipient FROM bley_status")}
        lost = self.deferred - known
        self.hold(f"deferred and forgotten: {sorted(lost)[:5]}", not lost)

    def check_log(self, calm_from):
        in_calm = lambda counts: {key: count for key, count in counts.items()  # noqa: E731
                                  if int(re.search(r"-(\d+)@", key[1]).group(1)) >= calm_from}
        told = self.decided()
        with contextlib.suppress(AssertionError):
            self.wait_until(lambda: in_calm(self.logged()) == in_calm(told), "the last log rows")
        logged = self.logged()
        different = dict(in_calm(told).items() ^ in_calm(logged).items())
        self.hold(f"in calm decisions and log rows differ: {dict(list(different.items())[:5])}", in_calm(told) and not different)
        self.rows, self.told = sum(logged.values()), sum(told.values())
        missing = sum((told - logged).values()) - sum(count for key, count in (told - logged).items() if key[1].startswith("good-"))
        most = ROWS_MOST * (self.killed + (POSTFIX_SENDERS + EXIM_SENDERS) * sum(
            count for name, count in self.faults.items() if "database" in name))
        self.hold(f"{missing} log rows are missing", missing <= most)
        self.errors = sum("]: error: " in line for line in self.log_lines())

    def end_all(self):
        handlers = self.handlers()
        self.postfix.stop()
        bleytest.stop(self.exim.process)
        bleytest.stop(self.warm, bleytest.PATIENCE)
        try:
            self.wait_until(lambda: not any(self.memory(pid) for pid in handlers), "the end of the handlers")
        except AssertionError as error:
            self.wrong.append(str(error))

    def figures(self):
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return (f"{self.newest + 1} messages, {sum(self.taken.values())} deliveries, answers {dict(self.answers)},"
                f" {self.headers_seen} headers, slowest answer {self.slowest:.1f} s, {self.told} decisions told and {self.rows} rows,"
                f" {self.errors} error lines\n    faults: {faults}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    end = time.monotonic() + args.minutes * 60
    databases = [Database(kind) for kind in ENGINES]
    print(f"seed {args.seed}, {args.minutes:g} minutes", flush=True)
    failed = False
    for number in itertools.count():
        if number >= len(databases) and time.monotonic() > end:
            break
        database = databases[number % len(databases)]
        this = Round()
        this.setUp()
        try:
            this.begin(database, args.seed + number)
            this.run_round()
            print(f"round {number + 1}, {database.kind}: {this.figures()}", flush=True)
            for line in this.wrong[:20]:
                print(f"    WRONG: {line}", flush=True)
            if this.wrong:
                print("\n".join(line[:200] for line in this.log_lines() if "]: error: " in line or "]: warning: " in line)[:4000])
            failed = failed or bool(this.wrong)
        finally:
            this.doCleanups()
            this.tearDown()
    for database in databases:
        database.end()
    print("something did not hold" if failed else "all held")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
