# SPDX-License-Identifier: BSD-3-Clause
"""Requests without pause while something breaks, each with the only answer that is right beside the failure action."""

import itertools
import re
import socket
import threading
import time

import bleytest

DEFER = "DEFER_IF_PERMIT greylisted, try again later"
FAILED = "DUNNO out of order"  # the failure_action of these tests: it cannot be taken for a decision
SLACK = 20  # seconds that a busy machine may add to any deadline


class Traffic:
    """So many threads, each on connections of its own, which connect() makes.

    asked = given + lost, and given = right + failed: `lost` are those whose connection ended instead (only with lossy),
    `failed` those answered with the failure action. What is anything else is in `wrong`, and finish() tells.
    """

    def __init__(self, test, connect, threads=4, lossy=False, renew=0, again=re.escape(DEFER)):
        """renew: after so many requests a thread takes a new connection. again: what is right for one who was deferred before."""
        self.test, self.connect, self.lossy, self.renew = test, connect, lossy, renew
        self.asked = self.given = self.right = self.failed = self.lost = 0
        self.streak = 0  # right ones since the last that was not
        self.slowest = 0
        self.again = again
        self.deferred, self.wrong, self.talks = set(), [], {}
        self.lock, self.end = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]
        test.addCleanup(self.stop)
        for thread in self.threads:
            thread.start()

    def __str__(self):
        return (f"{self.asked} asked, {self.given} given, {self.right} right, {self.failed} failed, {self.lost} lost,"
                f" the slowest took {self.slowest:.1f} s; wrong: {self.wrong[:3]}")

    def _run(self, number):
        try:
            self._ask_on(number)
        except BaseException as error:  # told by finish()
            self.wrong.append(f"{type(error).__name__}: {error}")

    def _ask_on(self, number):
        mine = []
        for count in itertools.count():
            if number in self.talks and (self.end.is_set() or self.renew and count % self.renew == 0):
                self.talks.pop(number).sock.close()  # somebody else may wait for its process
            if self.end.is_set():
                return
            sender = f"{number}.{count}@example.net"
            if count % 4 == 0:
                self._ask(number, bleytest.suspicious(sender=sender), re.escape(DEFER), sender, mine)
            elif count % 4 == 1 and mine:
                self._ask(number, bleytest.suspicious(sender=mine[count % len(mine)]), self.again)
            elif count % 4 == 2:
                self._ask(number, bleytest.request(sender=sender), "DUNNO")
            elif count % 4 == 3:
                self._ask(number, bleytest.suspicious(sender=sender, recipient="postmaster@example.org"), "DUNNO")

    def _ask(self, number, request, right, sender=None, mine=None):
        began = time.monotonic()
        answer = self._exchange(number, request)
        is_right = answer is not None and re.fullmatch(right, answer)
        with self.lock:
            self.asked += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.given += answer is not None
            self.streak = self.streak + 1 if is_right else 0
            if is_right:
                self.right += 1
            elif answer == FAILED:
                self.failed += 1
            elif answer is None and self.lossy:
                self.lost += 1
            else:
                self.wrong.append(f"{request!r}: {answer}")
            if sender and answer == DEFER:
                self.deferred.add(sender)
                mine.append(sender)

    def _exchange(self, number, request):
        """The answer, or None where the connection ends; then the next request has a new one."""
        talk = self.talks.get(number)
        if talk is None:
            talk = self.talks[number] = self.connect()
        try:
            talk.send(request)
            answer = talk.recv(bleytest.PATIENCE * 2)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        if answer:
            return answer.removeprefix(b"action=").decode()
        self.talks.pop(number).sock.close()
        return None

    def wait_for(self, more):
        """Until each of these counters has grown by so much."""
        goal = {name: getattr(self, name) + count for name, count in more.items()}
        self.test.wait_until(lambda: self.wrong or all(getattr(self, name) >= count for name, count in goal.items()),
                             f"traffic {more} ({self})", bleytest.PATIENCE * 2)
        self.test.assertEqual(self.wrong[:3], [], str(self))

    def wait_for_health(self, count=20):
        """Until so many in a row are right again."""
        with self.lock:
            self.streak = 0
        self.test.wait_until(lambda: self.wrong or self.streak >= count, f"recovery ({self})", bleytest.PATIENCE * 2)

    def stop(self):
        self.end.set()
        for thread in self.threads:
            thread.join()

    def finish(self, deadline):
        """All have ended, nothing was wrong, and none was later than the deadline (in seconds)."""
        self.stop()
        test = self.test
        test.assertEqual(self.wrong[:3], [], str(self))
        test.assertEqual((self.asked, self.given), (self.given + self.lost, self.right + self.failed), str(self))
        test.assertLess(self.slowest, deadline + SLACK, str(self))


class FaultCase(bleytest.TestCase):
    def configure(self, **keys):
        return self.write_conf(**{"cache_valid": 0, "failure_action": FAILED, "db_timeout": 30, **keys})

    def warm(self, wrapper=(), backlog=socket.SOMAXCONN, env=None, stderr=None, **keys):
        """bley in warm mode on a socket that outlives it; returns the process and the address."""
        self.listener = listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.addCleanup(listener.close)
        popen = {"stderr": stderr} if stderr else {}
        process = self.start([*wrapper, bleytest.bley_for_all(self), *bleytest.ALLOW_ROOT, "-c", self.configure(**keys)],
                             log="bley.out", stdin=listener, env=env, **popen)
        return process, listener.getsockname()

    def faults(self, name="log"):
        """The warnings and errors in the log."""
        return [line for line in self.log_lines(name) if re.search(r"\]: (error|warning): ", line)]

    def assert_told(self, pattern, most, allow="$^"):
        """One clear line, in each process that tells; and neither a flood nor anything else."""
        lines = [line for line in self.faults() if not re.search(allow, line)]
        self.assertEqual([line for line in lines if not re.search(pattern, line)], [])
        self.assertIn(len(lines), range(1, most + 1), lines[:20])

    def assert_remembered(self, traffic):
        """The database is whole, and no deferral that was answered is forgotten."""
        self.assertEqual(self.rows("PRAGMA integrity_check"), [("ok",)])
        stored = {sender for (sender,) in self.rows("SELECT sender FROM bley_status WHERE status = 2")}
        self.assertEqual(traffic.deferred - stored, set())
        self.assertTrue(traffic.deferred)
