# SPDX-License-Identifier: BSD-3-Clause
"""A real Postfix asks bley: over TCP (xinetd), over a unix socket (systemd), and as a child of spawn(8)."""

import os
import re
import threading
import unittest

import bleytest
import supervise
from postfix import DOMAIN, Postfix, main_cf

GREYLISTED = "4.7.1 <{}>: Recipient address rejected: greylisted, try again later"
PERIOD = 29 * 60

SPAMMER = {"address": "203.0.113.7", "helo": "friend"}
FRIEND = {"address": "192.0.2.1", "name": "mail.example.com", "helo": "mail.example.com"}


def headers(message):
    """The X-Greylist headers of a message."""
    return re.findall(r"(?m)^X-Greylist: .*$", message)


class Mail:
    """Mail to a Postfix that asks bley; begin(conf) gives the Postfix."""

    def setUp(self):
        super().setUp()
        self.need_root()
        supervise.give_to_nobody(self)

    def serve(self, **keys):
        self.postfix = self.begin(self.write_conf(**keys))
        self.postfix.start()
        return self.postfix

    def send(self, client, recipients, sender="sender@example.net", **message):
        with self.postfix.session(**client) as session:
            return session.try_to_send(sender, recipients, **message)

    def logs(self):
        """The ends of bley's log and of Postfix's."""
        return "\n".join(self.log_lines()[-30:] + self.postfix.log()[-30:])

    def assert_greylisted(self, answers, *recipients, cached=False):
        for recipient in recipients:
            text = GREYLISTED.format(recipient) + (" (cached result)" if cached else "")
            self.assertEqual(answers[recipient], (450, text), self.logs())

    def assert_taken(self, answers, *recipients):
        for recipient in recipients:
            self.assertEqual(answers[recipient][0], 250, f"{answers}\n{self.logs()}")


class Deliveries(Mail):
    """What holds in each of the ways."""

    def test_three_deliveries(self):
        """Deferred, too early, delivered with one header."""
        self.serve(cache_valid=0)
        recipient = f"b@{DOMAIN}"
        self.assert_greylisted(self.send(SPAMMER, [recipient]), recipient)
        self.move_time(PERIOD - 300)
        self.assert_greylisted(self.send(SPAMMER, [recipient]), recipient)
        self.move_time(300 + 10 * 60)
        self.assert_taken(self.send(SPAMMER, [recipient]), recipient)
        message = self.postfix.wait_for_mail(recipient)[0]
        self.assertRegex("\n".join(headers(message)), r"^X-Greylist: delayed 23[4-9]\d seconds by bley-\S+ at \S+; "
                         r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}$")
        rejected = self.postfix.wait_for_log(r"NOQUEUE: reject: RCPT from unknown\[203\.0\.113\.7\]: 450 4\.7\.1 ", 2)
        sent = self.postfix.wait_for_log(rf"to=<{recipient}>.*status=sent")
        self.keep_lines(rejected + sent)
        self.assertEqual(self.rows("SELECT status, fail_count FROM bley_status"), [(0, 1)])
        self.wait_until(lambda: [row for row, in self.rows("SELECT action FROM bley_log ORDER BY logtime")]
                        == ["DEFER_IF_PERMIT", "DEFER_IF_PERMIT", "PREPEND"], "three rows in the log")

    def keep_lines(self, lines):
        """Postfix's own words about the three, for people to look at."""
        self.assertEqual(len(lines), 3, "\n".join(lines))
        folder = os.path.join(bleytest.BUILD, "tests")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"postfix-{type(self).__name__.lower()}.log"), "w", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")

    def test_a_clean_client(self):
        self.serve()
        recipient = f"b@{DOMAIN}"
        self.assert_taken(self.send(FRIEND, [recipient]), recipient)
        self.assertEqual(headers(self.postfix.wait_for_mail(recipient)[0]), [])

    def two_recipients(self):
        """A message to two that have both waited; returns its two copies."""
        recipients = [f"b@{DOMAIN}", f"c@{DOMAIN}"]
        self.assert_greylisted(self.send(SPAMMER, recipients[:1]), recipients[0])
        self.move_time(120)
        self.assert_greylisted(self.send(SPAMMER, recipients[1:]), recipients[1])
        self.move_time(PERIOD)
        self.assert_taken(self.send(SPAMMER, recipients), *recipients)
        return [self.postfix.wait_for_mail(recipient)[0] for recipient in recipients]

    def test_two_recipients_one_header(self):
        """Both have waited; a PREPEND for each would give two headers."""
        self.serve(cache_valid=0)
        for message in self.two_recipients():
            self.assertEqual(len(headers(message)), 1, message)
        self.wait_until(lambda: sorted(row for row, in self.rows("SELECT action FROM bley_log"))
                        == ["DEFER_IF_PERMIT", "DEFER_IF_PERMIT", "DUNNO", "PREPEND"], "four rows in the log")

    def test_two_recipients_and_the_cache(self):
        """The first recipient's verdict stands for the second."""
        self.serve()
        for message in self.two_recipients():
            self.assertEqual(len(headers(message)), 1, message)
        self.wait_until(lambda: self.rows("SELECT count(*) FROM bley_log WHERE check_cache = 1") == [(1,)],
                        "a cached verdict")

    def test_two_messages_in_one_session(self):
        """Each message has its own header, though Postfix asks over the same connection."""
        self.serve(cache_valid=0)
        recipients = [f"b@{DOMAIN}", f"c@{DOMAIN}"]
        self.assert_greylisted(self.send(SPAMMER, recipients), *recipients)
        self.move_time(PERIOD)
        with self.postfix.session(**SPAMMER) as session:
            for recipient in recipients:
                self.assert_taken(session.try_to_send("sender@example.net", [recipient]), recipient)
        for recipient in recipients:
            self.assertEqual(len(headers(self.postfix.wait_for_mail(recipient)[0])), 1)

    def test_postmaster_is_never_delayed(self):
        self.serve()
        recipients = [f"b@{DOMAIN}", f"postmaster@{DOMAIN}", f"c@{DOMAIN}"]
        answers = self.send(SPAMMER, recipients)
        self.assert_greylisted(answers, recipients[0])
        self.assert_taken(answers, recipients[1])
        self.assert_greylisted(answers, recipients[2], cached=True)
        self.assertEqual(headers(self.postfix.wait_for_mail(recipients[1])[0]), [])

    def test_the_null_sender(self):
        self.serve(cache_valid=0)
        recipient = f"b@{DOMAIN}"
        self.assert_greylisted(self.send(SPAMMER, [recipient], sender=""), recipient)
        self.move_time(PERIOD)
        self.assert_taken(self.send(SPAMMER, [recipient], sender=""), recipient)

    def test_ipv6(self):
        self.serve(cache_valid=0)
        recipient = f"b@{DOMAIN}"
        client = {"address": "2001:db8::7", "helo": "friend"}
        self.assert_greylisted(self.send(client, [recipient]), recipient)
        self.assertEqual(self.rows("SELECT ip FROM bley_status"), [("2001:0db8:0000:0000:0000:0000:0000:0007",)])

    def test_a_database_out_of_order_delays_nobody(self):
        self.serve(dbpath=self.path("no", "such", "folder"))
        recipient = f"b@{DOMAIN}"
        self.assert_taken(self.send(SPAMMER, [recipient]), recipient)
        self.wait_for_log(r"\]: error: ")

    def test_a_hundred_sessions_at_once(self):
        """Clean and suspicious clients, all open together; each recipient gets the answer that is its own."""
        self.serve(db_timeout=30)
        count = 100
        together = threading.Barrier(count)

        def talk(number):
            recipient, clean = f"r{number}@{DOMAIN}", number % 2 == 0
            client = {"address": f"198.51.100.{number + 1}", "helo": "mail.example.com" if clean else "friend",
                      "name": "mail.example.com" if clean else None}
            with self.postfix.session(**client) as session:
                together.wait(bleytest.PATIENCE * 3)
                answers = session.try_to_send(f"s{number}@example.net", [recipient])
            if clean:
                self.assert_taken(answers, recipient)
            else:
                self.assert_greylisted(answers, recipient)

        bleytest.in_threads(talk, [(number,) for number in range(count)])
        found = self.rows("SELECT ip, sender, recipient, status FROM bley_status")
        self.assertEqual(sorted(found), sorted(
            (f"198.51.100.{n + 1}", f"s{n}@example.net", f"r{n}@{DOMAIN}", 0 if n % 2 == 0 else 2) for n in range(count)))
        self.assertFalse([line for line in self.log_lines() if "error: " in line])
        # but for what Postfix has to say about the clock of the file system, which is not ours
        self.assertFalse([line for line in self.postfix.log() if "problem" in line or
                          "warning: " in line and not re.search("clock|file time stamps", line)])


class Inet(Deliveries, bleytest.TestCase):
    """check_policy_service inet:..., under xinetd."""

    def begin(self, conf):
        address, port = supervise.xinetd(self, conf)
        return Postfix(self, main_cf("inet:127.0.0.1:1337", f"inet:{address}:{port}"))


class Unix(Deliveries, bleytest.TestCase):
    """check_policy_service unix:..., below the chroot of smtpd, under systemd's socket activation."""

    def begin(self, conf):
        postfix = Postfix(self, main_cf("unix:bley/policy"), chroot=True)
        os.mkdir(postfix.path("spool", "bley"), 0o755)
        supervise.socket_activate(self, postfix.path("spool", "bley", "policy"), conf)
        return postfix


class Spawn(Deliveries, bleytest.TestCase):
    """check_policy_service unix:private/bley, a service of Postfix's own."""

    def begin(self, conf):
        return Postfix(self, main_cf("unix:private/bley"), services=supervise.spawn_service(self, conf))


if __name__ == "__main__":
    unittest.main()
