# SPDX-License-Identifier: BSD-3-Clause
"""Warm mode: bley is given the listening socket and accepts by itself."""

import os
import signal
import threading
import unittest

import bleytest
import supervise
from test_super import DEFER, Conversations


def is_alive(pid):
    """A process that has ended and was not waited for does not count."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class WarmConversations(Conversations):
    def once(self, address, **changes):
        """A connection for one request, as Exim makes it."""
        client = self.client(address)
        client.send(bleytest.suspicious(**changes))
        client.half_close()
        answer = client.answer()
        self.assertTrue(client.at_end())
        client.close()
        return answer


class Warm(WarmConversations, bleytest.TestCase):
    """Everything that holds for one process a connection holds here, too; and more."""

    def begin(self, conf):
        self.process, addresses = supervise.warm(self, [f"127.0.0.1:{bleytest.free_port()}"], conf)
        return addresses[0]

    def test_processes_are_used_again(self):
        address = self.serve()
        self.once(address)
        self.wait_until(lambda: len(supervise.children(self.process.pid)) >= 1, "a process that waits")
        for number in range(200):
            self.assertEqual(self.once(address, sender=f"{number}@example.net"), DEFER)
        logged = {line.split("bley[")[1].split("]")[0] for line in self.log_lines() if "decided" in line}
        self.assertLess(len(logged), 100)

    def test_lasting_connections_starve_nobody(self):
        address = self.serve()
        lasting = [self.client(address) for _ in range(40)]
        for number, client in enumerate(lasting):
            self.assertEqual(client.ask_suspicious(sender=f"l{number}@example.net"), DEFER)
        for number in range(40):
            self.assertEqual(self.once(address, sender=f"o{number}@example.net"), DEFER)
        for client in lasting:
            self.assertEqual(client.ask(), "DUNNO")
        self.assertGreaterEqual(len(supervise.children(self.process.pid)), len(lasting) + 1)

    def test_lasting_and_short_ones_at_the_same_time(self):
        address = self.serve()
        wrong = []

        def last(number):
            client = self.client(address)
            for request in range(20):
                self.assertEqual(client.ask_suspicious(sender=f"{number}.{request}@example.net"), DEFER)

        def come_and_go(number):
            for request in range(20):
                self.assertEqual(self.once(address, sender=f"{number}.{request}@example.com"), DEFER)

        def talk(how, number):
            try:
                how(number)
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=talk, args=(how, number)) for number in range(10) for how in (last, come_and_go)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if wrong:
            raise wrong[0]
        self.assertEqual(self.rows("SELECT count(*) FROM bley_status"), [(400,)])

    def test_no_more_than_max_handlers(self):
        address = self.serve(max_handlers=3)
        first = [self.client(address) for _ in range(3)]
        for number, client in enumerate(first):
            self.assertEqual(client.ask_suspicious(sender=f"{number}@example.net"), DEFER)
        late = self.client(address)
        late.send(bleytest.suspicious(sender="late@example.net"))
        self.assertEqual(first[0].ask(), "DUNNO")
        self.assertEqual(len(supervise.children(self.process.pid)), 3)
        first[0].half_close()
        self.assertTrue(first[0].at_end())
        self.assertEqual(late.answer(), DEFER)

    def test_a_killed_child_harms_no_other(self):
        address = self.serve()
        first, second = self.client(address), self.client(address)
        self.assertEqual(first.ask_suspicious(sender="1@example.net"), DEFER)
        victim = int(self.wait_for_log(r"bley\[(\d+)\]: decided action=DEFER_IF_PERMIT").group(1))
        self.assertEqual(second.ask_suspicious(sender="2@example.net"), DEFER)
        os.kill(victim, signal.SIGKILL)
        self.assertTrue(first.at_end())
        self.assertEqual(second.ask(), "DUNNO")
        self.assertEqual(self.once(address, sender="3@example.net"), DEFER)
        self.wait_for_log(rf"error: handler {victim} was killed by signal 9")

    def test_children_of_a_killed_parent_end(self):
        address = self.serve()
        client = self.client(address)
        self.assertEqual(client.ask_suspicious(), DEFER)
        self.wait_until(lambda: len(supervise.children(self.process.pid)) >= 2, "one that serves and one that waits")
        pids = supervise.children(self.process.pid)
        self.process.kill()
        self.process.wait()
        self.wait_until(lambda: not any(map(is_alive, pids)), "the end of all children")
        self.assertTrue(client.at_end())

    def test_terminated(self):
        address = self.serve()
        client = self.client(address)
        self.assertEqual(client.ask_suspicious(), DEFER)
        pids = supervise.children(self.process.pid)
        self.process.terminate()
        self.assertEqual(self.process.wait(bleytest.PATIENCE), 0)
        self.assertTrue(client.at_end())
        self.assertFalse(any(map(is_alive, pids)))
        self.assertEqual(self.rows("SELECT count(*) FROM bley_log"), [(1,)])

    def test_ends_when_idle(self):
        address = self.serve(idle_exit="1s")
        self.assertEqual(self.once(address), DEFER)
        self.assertEqual(self.process.wait(bleytest.PATIENCE), 0)

    def test_does_not_end_under_a_connection(self):
        address = self.serve(idle_exit="1s")
        client = self.client(address)
        self.assertEqual(client.ask_suspicious(), DEFER)
        self.assertRaises(Exception, self.process.wait, 3)
        self.assertEqual(client.ask(), "DUNNO")
        client.close()
        self.assertEqual(self.process.wait(bleytest.PATIENCE), 0)

    def answers_with(self, address, text):
        return lambda: self.once(address, sender="again@example.net") == text

    def test_changed_settings_and_lists_are_taken_over(self):
        address = self.serve()
        self.assertEqual(self.once(address), DEFER)
        lasting = self.client(address)
        self.assertEqual(lasting.ask_suspicious(sender="l@example.net"), DEFER)
        self.write_conf(cache_valid=0, reject_msg="come back")
        self.wait_until(self.answers_with(address, "DEFER_IF_PERMIT come back"), "the new settings")
        self.write("whitelist_clients", "203.0.113.0/24\n")
        self.wait_until(self.answers_with(address, "DUNNO"), "the new whitelist")
        self.assertEqual(lasting.ask_suspicious(sender="m@example.net"), DEFER)

    def test_hangup(self):
        address = self.serve()
        self.assertEqual(self.once(address), DEFER)
        self.process.send_signal(signal.SIGHUP)
        self.wait_for_log("configuration and whitelists read anew")
        self.assertEqual(self.once(address, sender="2@example.net"), DEFER)

    def test_broken_settings_are_not_taken_over(self):
        address = self.serve(reject_msg="old")
        self.assertEqual(self.once(address), "DEFER_IF_PERMIT old")
        self.write_conf(cache_valid=0, reject_msg="new", rfc_threshold="many")
        self.wait_for_log("not taken over until it is mended")
        self.assertEqual(self.once(address, sender="2@example.net"), "DEFER_IF_PERMIT old")
        self.write_conf(cache_valid=0, reject_msg="new")
        self.wait_until(self.answers_with(address, "DEFER_IF_PERMIT new"), "the mended settings")

    def test_no_configuration_at_first(self):
        conf = self.write_conf(cache_valid=0)
        os.rename(conf, self.path("away"))
        address = self.begin(conf)
        self.assertEqual(self.once(address), "DUNNO")
        self.assertFalse(os.path.exists(self.path("bley.db")))
        os.rename(self.path("away"), conf)
        self.wait_until(self.answers_with(address, DEFER), "the configuration")

    def test_two_sockets(self):
        path, port = self.path("policy"), bleytest.free_port()
        self.process, addresses = supervise.warm(self, [f"127.0.0.1:{port}", path], self.write_conf(cache_valid=0))
        for number, address in enumerate(addresses * 10):
            self.assertEqual(self.once(address, sender=f"{number}@example.net"), DEFER)

    def test_a_client_that_says_nothing(self):
        address = self.serve()
        silent = [self.client(address) for _ in range(5)]
        self.assertEqual(self.once(address), DEFER)
        for client in silent:
            client.close()
        self.assertEqual(self.once(address, sender="2@example.net"), DEFER)


class InetdWait(WarmConversations, bleytest.TestCase):
    """inetd's `wait`: the listening socket is standard input."""

    def begin(self, conf):
        return supervise.openbsd_inetd(self, conf, wait="wait")

    def start(self, command, **options):
        inetd = super().start(command, **options)
        self.addCleanup(self.stop_with_children, inetd)
        return inetd

    def stop_with_children(self, inetd):
        """What inetd has started would outlive it until its idle exit. inetd goes first, lest it starts another."""
        inetd.send_signal(signal.SIGSTOP)
        pids = supervise.children(inetd.pid)
        inetd.kill()
        inetd.wait()
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGTERM)
        self.wait_until(lambda: not any(map(is_alive, pids)), "the end of what inetd has started")

    def test_comes_back_after_an_idle_exit(self):
        address = self.serve(idle_exit="1s")
        self.assertEqual(self.once(address), DEFER)
        self.wait_for_log("no connection for 1 s")
        self.assertEqual(self.once(address, sender="2@example.net"), DEFER)


class XinetdWait(InetdWait):
    """xinetd's `wait = yes` is the same."""

    def begin(self, conf):
        return supervise.xinetd(self, conf, wait=True)


if __name__ == "__main__":
    unittest.main()
