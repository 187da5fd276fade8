# SPDX-License-Identifier: BSD-3-Clause
"""Processes that are killed, or lack what the system ought to give them, and peers that do not behave."""

import contextlib
import os
import random
import re
import resource
import selectors
import shutil
import signal
import socket
import time
import unittest

import bleytest
import supervise
from traffic import DEFER, FAILED, FaultCase, Traffic

KILLS = 60
USER = 61234  # of its own: the kernel counts a user's processes wherever they come from


class Killed(FaultCase):
    def test_in_the_middle_of_decisions(self):
        """From the very first one on, which also makes the database."""
        self.configure()
        traffic = Traffic(self, self.handler, threads=6, lossy=True)
        dice = random.Random(10)
        for _ in range(KILLS):
            victims = [talk.process for talk in list(traffic.talks.values())]
            if victims:
                dice.choice(victims).send_signal(signal.SIGKILL)
            asked = traffic.asked
            self.wait_until(lambda asked=asked: traffic.asked > asked + dice.randrange(12) or traffic.wrong, "traffic")
        traffic.wait_for_health()
        traffic.finish(30)
        self.assertGreater(traffic.lost, KILLS // 4, str(traffic))
        self.assertEqual(traffic.failed, 0, str(traffic))
        self.assertEqual(self.faults(), [])
        self.assert_remembered(traffic)


class Scarce(FaultCase):
    """Too little of something from the start: each request is answered, or the program could not even be loaded."""

    LOADED = (127, 75)  # the loader's, and ours where memory runs out before the first request

    def setUp(self):
        super().setUp()
        self.need("prlimit")
        self.configure()
        handler = self.handler()
        handler.ask()
        self.assertEqual(handler.finish(), 0)

    def answers(self, handler, count):
        """As many as come."""
        found = []
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for number in range(count):
                handler.send(bleytest.suspicious(sender=f"{number}@example.net"))
                answer = handler.recv()
                if not answer:
                    break
                found.append(answer.decode().removeprefix("action="))
            handler.half_close()
        return found

    def assert_answered(self, option, values, why):
        kinds = set()
        # which itself would need file descriptors at the end
        env = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
        for value in values:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path("log"))
            handler = self.handler(wrapper=("prlimit", f"--{option}={value}"), env=env)
            answers = self.answers(handler, 3)
            context = (value, answers, self.faults(), handler.errors())
            if not answers:
                self.assertIn(handler.wait(), self.LOADED, context)
                continue
            self.assertEqual((len(answers), handler.wait()), (3, 0), context)
            self.assertLessEqual(set(answers), {DEFER, FAILED}, context)
            if FAILED in answers:
                self.assert_told(why, 4)
            kinds.update(answers)
            handler.stop()
        self.assertEqual(kinds, {DEFER, FAILED})
        self.assertEqual(answers, [DEFER] * 3)  # with the last

    def test_file_descriptors(self):
        self.assert_answered("nofile", (*range(3, 10), 20), "Too many open files")

    def test_memory(self):
        if bleytest.instrumented():
            self.skipTest("sanitizers want terabytes of addresses")
        self.assert_answered("as", (*range(2 << 20, 8 << 20, 1 << 18), 50 << 20), "cannot load a module|out of memory|Cannot allocate")


class ScarceInWarmMode(FaultCase):
    """The same in mid-traffic, and enough of it again."""

    @staticmethod
    def kill(pids):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self):
        return [self.process.pid, *supervise.children(self.process.pid)]

    def use_up_descriptors(self):
        """None may have a number more than it has now, nor those that are made meanwhile; until one tells."""
        def use_up():
            for pid in self.processes():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                    used = set(map(int, os.listdir(f"/proc/{pid}/fd")))
                    least = next(number for number in range(len(used) + 1) if number not in used)
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, (least, 1024))
            return [line for line in self.faults() if "cannot accept a connection: Too many open files" in line]
        self.wait_until(use_up, "a line in the log")

    def test_file_descriptors(self):
        self.process, address = self.warm()
        traffic = Traffic(self, lambda: self.client(address), renew=5)
        traffic.wait_for({"right": 40})
        self.use_up_descriptors()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (1024, 1024))
        traffic.wait_for_health()
        traffic.finish(30)
        # what is told of together, at the end too, and the ends of processes that could not begin
        bleytest.stop(self.process, bleytest.PATIENCE)
        self.assert_told("Too many open files|handler [0-9]+ ended with status 1", 20)
        self.assert_remembered(traffic)

    def test_a_socket_that_is_shut_down(self):
        """By whoever has it, too: told, and not tried again without a pause."""
        process, address = self.warm()
        self.assertEqual(self.client(address).ask_suspicious(), DEFER)
        with socket.socket(fileno=os.dup(self.listener.fileno())) as listener:
            listener.shutdown(socket.SHUT_RDWR)
        self.wait_for_log("error: cannot accept a connection: Invalid argument")
        process.terminate()
        self.assertEqual(process.wait(bleytest.PATIENCE), 0)
        self.assert_told("cannot accept a connection: Invalid argument", 4)

    def test_terminated_without_file_descriptors(self):
        # a leak checker, where there is one, could not open what it looks at
        self.process, address = self.warm(env={**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"})
        self.assertEqual(self.client(address).ask_suspicious(), DEFER)
        self.wait_until(lambda: supervise.children(self.process.pid), "a process that waits")
        waiting = []

        def connect():
            waiting.append(self.client(address))
        connect()
        self.wait_until(lambda: len(supervise.children(self.process.pid)) >= 2, "one that serves and one that waits")
        for _ in range(8):
            connect()
        self.use_up_descriptors()
        children = supervise.children(self.process.pid)
        self.addCleanup(self.kill, children)
        self.process.terminate()
        self.assertEqual(self.process.wait(bleytest.PATIENCE), 0)
        self.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), "the end of all")

    def victim(self, talk, number):
        """The process that serves this connection."""
        sender = f"victim{number}@example.net"
        self.assertEqual(talk.ask_suspicious(sender=sender), DEFER)
        return int(self.wait_for_log(rf"bley\[(\d+)\]: decided .* sender={sender}").group(1))

    def test_memory(self):
        if bleytest.instrumented():
            self.skipTest("sanitizers want terabytes of addresses")
        process, address = self.warm()
        traffic = Traffic(self, lambda: self.client(address), renew=50)
        for number in range(5):
            talk = self.client(address)
            pid = self.victim(talk, number)
            with open(f"/proc/{pid}/statm", encoding="ascii") as stream:
                size = int(stream.read().split()[0]) * resource.getpagesize()
            resource.prlimit(pid, resource.RLIMIT_AS, (size, size))
            talk.send(bleytest.suspicious(sender=b"\xff" * 60000))  # each takes three bytes
            self.assertEqual(talk.answer(), FAILED)
            self.assertTrue(talk.at_end())
        traffic.wait_for_health()
        traffic.finish(30)
        bleytest.stop(process, bleytest.PATIENCE)
        self.assert_told("out of memory, answered failure_action: this process ends|handler [0-9]+ ended with status 75", 8)
        told = re.findall(r"out of memory.*?(?: \((\d+) more like it within \d+ s\))?$", "\n".join(self.faults()), re.MULTILINE)
        self.assertEqual(sum(int(more or 1) for more in told), 5, told)
        self.assert_remembered(traffic)

    def test_processes(self):
        """Those that there are serve one after the other."""
        self.need_root()
        self.need("prlimit", "setpriv")
        self.write("log", "", 0o666)
        os.makedirs(self.path("db"))
        shutil.chown(self.path("db"), USER, USER)
        process, address = self.warm(("prlimit", "--nproc=4", "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"))
        traffic = Traffic(self, lambda: self.client(address), threads=12, renew=5)
        traffic.wait_for({"right": 200})
        self.wait_for_log("cannot start a handler")
        self.assertLessEqual(len(supervise.children(process.pid)), 3)
        traffic.finish(30)
        bleytest.stop(process, bleytest.PATIENCE)
        self.assertEqual(traffic.failed, 0, str(traffic))
        self.assert_told("cannot start a handler: Resource temporarily unavailable", 4)
        self.assert_remembered(traffic)


class Peers(FaultCase):
    def setUp(self):
        super().setUp()
        self.process, self.address = self.warm(max_handlers=8)
        self.traffic = Traffic(self, lambda: self.client(self.address), renew=20)

    def end(self):
        self.traffic.wait_for_health()
        self.traffic.finish(30)
        self.assertEqual((self.traffic.failed, self.faults()), (0, []), str(self.traffic))
        bleytest.stop(self.process, bleytest.PATIENCE)
        self.assert_remembered(self.traffic)

    def test_one_that_sends_a_byte_at_a_time(self):
        slow = self.client(self.address)
        slow.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in bleytest.suspicious(sender="slow@example.net"):
            asked = self.traffic.asked
            slow.send(bytes([byte]))
            self.wait_until(lambda asked=asked: self.traffic.asked > asked or self.traffic.wrong, "traffic")
        self.assertEqual(slow.answer(), DEFER)
        self.end()

    def fill(self, sock):
        """Requests until no more can be sent, as the answers are not read."""
        sock.setblocking(False)
        data, quiet = bleytest.request() * 100, 0
        while quiet < 10:
            try:
                sock.send(data)
                quiet = 0
            except BlockingIOError:
                quiet += 1
                time.sleep(0.02)

    def is_writing(self, pid):
        """Whether it waits in a system call on standard output (proc_pid_syscall(5): number, first argument, ...)."""
        with open(f"/proc/{pid}/syscall", encoding="ascii") as stream:
            return stream.read().split()[1:2] == ["0x1"]

    def test_one_that_never_reads(self):
        deaf = self.client(self.address)
        # as little room as can be
        deaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self.fill(deaf.sock)
        self.end()  # which the process that cannot write does not hold up

    def test_one_that_never_reads_and_one_process(self):
        handler = self.handler()
        self.fill(handler.sock)
        self.wait_until(lambda: self.is_writing(handler.process.pid), "a write that waits")
        handler.process.terminate()
        self.assertEqual(handler.wait(), 1)
        self.assert_told("cannot write to the connection: the peer does not read its answers", 1)
        os.unlink(self.path("log"))
        self.end()


class Connections(FaultCase):
    HANDLERS = 16

    def connect(self, count, address):
        """So many at once, without waiting for any."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit[1] < count + 200 and os.geteuid() != 0:
            self.skipTest(f"{limit[1]} file descriptors are not enough")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count + 200, max(count + 200, limit[1])))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
        sockets = []
        for _ in range(count):
            sock = socket.socket()
            self.addCleanup(sock.close)
            sock.setblocking(False)
            sock.connect_ex(address)
            sockets.append(sock)
        return sockets

    def test_a_thousand_at_once(self):
        _, address = self.warm(max_handlers=self.HANDLERS)
        selector = selectors.DefaultSelector()
        for number, sock in enumerate(self.connect(1000, address)):
            selector.register(sock, selectors.EVENT_WRITE, number)
        answers = {}
        while len(answers) < 1000:
            ready = selector.select(bleytest.PATIENCE)
            self.assertTrue(ready, f"{len(answers)} of 1000 answers")
            for key, event in ready:
                if event == selectors.EVENT_WRITE:
                    key.fileobj.send(bleytest.suspicious(sender=f"{key.data}@example.net"))
                    key.fileobj.shutdown(socket.SHUT_WR)
                    selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
                    continue
                answers[key.data] = key.fileobj.recv(1000)
                selector.unregister(key.fileobj)
                key.fileobj.close()
        self.assertEqual(set(answers.values()), {f"action={DEFER}\n\n".encode()})
        self.assertEqual(self.rows("SELECT count(*), count(DISTINCT sender) FROM bley_status"), [(1000, 1000)])
        self.assertEqual(self.faults(), [])

    def test_ten_thousand_half_open(self):
        """Those that are within the limit are served, all others wait; when they go away all goes on."""
        process, address = self.warm(max_handlers=self.HANDLERS)
        served = [self.client(address) for _ in range(self.HANDLERS // 2)]
        for number, client in enumerate(served):
            self.assertEqual(client.ask_suspicious(sender=f"{number}@example.net"), DEFER)
        sockets = self.connect(10000, address)
        self.wait_until(lambda: len(supervise.children(process.pid)) == self.HANDLERS, "as many processes as may be")
        for number, client in enumerate(served * 5):
            self.assertEqual(client.ask_suspicious(sender=f"{number}@example.net"), DEFER)
        self.assertLessEqual(len(supervise.children(process.pid)), self.HANDLERS)
        for sock in sockets:
            sock.close()
        late = self.client(address)
        self.assertEqual(late.ask_suspicious(sender="late@example.net"), DEFER)
        for client in served:
            self.assertEqual(client.ask(), "DUNNO")
        self.assertEqual(self.faults(), [])


if __name__ == "__main__":
    unittest.main()
