# SPDX-License-Identifier: BSD-3-Clause
"""The same conversations whoever starts the handler: systemd's socket activation, xinetd, inetd."""

import unittest

import bleytest
import supervise

DEFER = "DEFER_IF_PERMIT greylisted, try again later"


class Conversations:
    """What holds under each of them; connect() is the kind's own."""

    def setUp(self):
        super().setUp()
        supervise.give_to_nobody(self)

    def serve(self, **keys):
        """Starts the super-server with a configuration; returns the address."""
        return self.begin(self.write_conf(**{"cache_valid": 0, **keys}))

    def test_greylisting(self):
        address = self.serve()
        first = self.client(address)
        self.assertEqual(first.ask(), "DUNNO")
        self.assertEqual(first.ask_suspicious(), DEFER)
        self.move_time(1800)
        second = self.client(address)
        self.assertRegex(second.ask_suspicious(), "^PREPEND X-Greylist: delayed 18[0-9][0-9] seconds by bley-")
        self.assertEqual(first.ask_suspicious(), "DUNNO")
        self.assertEqual(self.rows("SELECT ip, status, fail_count FROM bley_status ORDER BY ip"),
                         [("192.0.2.1", 0, 0), ("203.0.113.7", 0, 0)])
        for client in (first, second):
            client.half_close()
            self.assertTrue(client.at_end())
        self.wait_until(lambda: self.rows("SELECT count(*) FROM bley_log") == [(4,)], "four rows in the log")

    def test_many_requests_then_the_end(self):
        client = self.client(self.serve())
        client.send(b"".join(bleytest.suspicious(sender=f"{n}@example.net") for n in range(20)))
        client.half_close()
        for _ in range(20):
            self.assertEqual(client.answer(), DEFER)
        self.assertTrue(client.at_end())
        self.wait_until(lambda: self.rows("SELECT count(*) FROM bley_log") == [(20,)], "twenty rows in the log")

    def test_exim_workaround(self):
        address = self.serve(exim_workaround=1)
        client = self.client(address)
        self.assertEqual(client.ask_suspicious(), DEFER)
        self.assertTrue(client.at_end())

    def test_nothing_but_answers_on_the_connection(self):
        """With a fault in everything, and the log to standard error, which may be the connection."""
        self.write("whitelist_clients", "/broken(/\n")
        client = self.client(self.serve(log_file="-", dbpath=self.path("no", "such"), no_such_key="1"))
        for _ in range(2):
            client.send(bleytest.suspicious() + bleytest.request(sender=None) + bleytest.request(sender="x" * 70000))
            for _ in range(3):
                self.assertEqual(client.recv(), b"action=DUNNO")
        client.half_close()
        self.assertTrue(client.at_end())

    def test_peers_that_just_go_away(self):
        address = self.serve()
        for number in range(10):
            client = self.client(address)
            client.send(bleytest.suspicious(sender=f"{number}@example.net") * 3)
            client.close()
        client = self.client(address)
        self.assertEqual(client.ask_suspicious(), DEFER)

    def test_a_burst_of_connections(self):
        """As when Postfix starts its hundred smtpd processes at once."""
        address = self.serve(db_timeout=30)
        count = 100
        clients = [self.client(address) for _ in range(count)]

        def talk(number, client):
            self.assertEqual(client.ask_suspicious(sender=f"{number}@example.net"), DEFER, self.log_lines())
            self.assertEqual(client.ask(sender=f"{number}@example.net"), "DUNNO")

        bleytest.in_threads(talk, [pair for pair in enumerate(clients)])
        self.assertEqual(self.rows("SELECT status, count(*) FROM bley_status GROUP BY status ORDER BY status"),
                         [(0, count), (2, count)])
        self.assertFalse([line for line in self.log_lines() if "error: " in line])


class SystemdInetd(Conversations, bleytest.TestCase):
    """The connection is standard input and output (StandardInput=socket)."""

    def begin(self, conf):
        return supervise.socket_activate(self, f"127.0.0.1:{bleytest.free_port()}", conf)


class SystemdFd3(Conversations, bleytest.TestCase):
    """The connection is file descriptor 3."""

    def begin(self, conf):
        return supervise.socket_activate(self, f"127.0.0.1:{bleytest.free_port()}", conf, inetd=False)


class SystemdUnix(Conversations, bleytest.TestCase):
    def begin(self, conf):
        return supervise.socket_activate(self, self.path("socket"), conf)


class Xinetd(Conversations, bleytest.TestCase):
    """The connection is standard input, output and error."""

    def begin(self, conf):
        return supervise.xinetd(self, conf)


class OpenbsdInetd(Conversations, bleytest.TestCase):
    """The connection is standard input, output and error."""

    def begin(self, conf):
        return supervise.openbsd_inetd(self, conf)


if __name__ == "__main__":
    unittest.main()
