# SPDX-License-Identifier: BSD-3-Clause
"""Postfix and bley where they seldom meet: at DATA, in letters other than ASCII, under stress, behind postscreen, over IPv6."""

import os
import re
import socket
import unittest

import bleytest
import servers
import supervise
from postfix import DOMAIN, Postfix, main_cf
from test_postfix import FRIEND, PERIOD, SPAMMER, Mail, headers

BOB, CAROL = f"bob@{DOMAIN}", f"carol@{DOMAIN}"


class Case(Mail, bleytest.TestCase):
    """With bley in warm mode."""

    def begin(self, conf, change=None, settings="", **options):
        """change: what becomes of the shipped lines."""
        address = self.serve_policy(f"127.0.0.1:{bleytest.free_port()}", conf)
        text = main_cf("inet:127.0.0.1:1337", f"inet:{address[0]}:{address[1]}")
        self.postfix = Postfix(self, (change(text) if change else text) + settings, **options)
        return self.postfix

    def serve_policy(self, listen, conf):
        return supervise.warm(self, [listen], conf)[1][0]

    def run_postfix(self, change=None, settings="", **options):
        self.begin(self.write_conf(cache_valid=0), change, settings, **options).start()


class Data(Case):
    """smtpd_data_restrictions: one request for a message, which names a recipient only where there is just one."""

    def at_data(self, *recipients):
        """The answer to DATA, or to the message if that was 354."""
        with self.postfix.session(**SPAMMER) as session:
            session.mail("sender@example.net")
            for recipient in recipients:
                self.assertEqual(session.rcpt(recipient)[0], 250)
            code, text = session.docmd("DATA")
            if code != 354:
                return code, text.decode()
            session.send(b"Subject: test\r\n\r\nhello\r\n.\r\n")
            return session.getreply()[0], None

    def ask_at_data(self):
        def move(text):
            text, count = re.subn(r",\n    check_policy_service \$bley_policy", "", text)
            self.assertEqual(count, 1)
            return text + "smtpd_data_restrictions = check_policy_service $bley_policy\n"
        self.run_postfix(move)

    def test_one_recipient(self):
        self.ask_at_data()
        self.assertEqual(self.at_data(BOB), (450, "4.7.1 <DATA>: Data command rejected: greylisted, try again later"))
        self.move_time(PERIOD)
        self.assertEqual(self.at_data(BOB)[0], 250)
        self.assertEqual(len(headers(self.postfix.wait_for_mail(BOB)[0])), 1)

    def test_several_recipients(self):
        self.ask_at_data()
        self.assertEqual(self.at_data(BOB, CAROL)[0], 250)
        for recipient in (BOB, CAROL):
            self.assertEqual(headers(self.postfix.wait_for_mail(recipient)[0]), [])
        self.wait_for_log("answered DUNNO to a request that cannot be decided: the attribute recipient is empty")
        self.assertFalse([line for line in self.log_lines() if "decided action" in line])

    def test_at_rcpt_and_at_data(self):
        """Who asks twice about a message gets the same answer, and one header."""
        self.run_postfix(settings="smtpd_data_restrictions = check_policy_service $bley_policy\n")
        self.assert_greylisted(self.send(SPAMMER, [BOB]), BOB)
        self.move_time(PERIOD)
        self.assertEqual(self.at_data(BOB)[0], 250)
        self.assertEqual(len(headers(self.postfix.wait_for_mail(BOB)[0])), 1)
        self.assertEqual(self.rows("SELECT status, fail_count FROM bley_status"), [(0, 0)])


class Odd(Case):
    def test_very_long_addresses(self):
        """Postfix sets hardly any limit: what is cut for the database is cut the same each time."""
        self.run_postfix()
        long = "l" * 900
        recipient = f"{'r' * 230}@{DOMAIN}"  # a file's name in the inbox
        for sender in (f"{long}@example.net", f"{'ü' * 450}@example.net"):
            options = ["SMTPUTF8"] if not sender.isascii() else []
            self.assert_greylisted(self.send(SPAMMER, [recipient], sender, options=options), recipient)
            self.move_time(PERIOD)
            self.assert_taken(self.send(SPAMMER, [recipient], sender, options=options), recipient)
            self.assert_taken(self.send(SPAMMER, [recipient], sender, options=options), recipient)
        self.assertEqual(self.rows("SELECT sender FROM bley_status ORDER BY sender"), [("l" * 254,), ("ü" * 127,)])
        other = f"{long}@{DOMAIN}"
        with self.postfix.session(**SPAMMER) as session:
            session.mail(f"{long}@example.net")
            self.assertEqual(session.rcpt(other)[0], 450)
            session.rset()
        self.assertEqual(self.rows("SELECT count(*) FROM bley_status WHERE recipient = ?", ["l" * 254]), [(1,)])

    def test_odd_addresses(self):
        self.run_postfix()
        recipients = [f'"a b"@{DOMAIN}', f"a=b@{DOMAIN}", f"o'brien@{DOMAIN}", f"{{x}}|y@{DOMAIN}"]
        answers = self.send(SPAMMER, recipients, sender='"x=y z"@example.net')
        for recipient in recipients:
            self.assertEqual(answers[recipient][0], 450, self.logs())
        self.assertEqual({row for row, in self.rows("SELECT sender FROM bley_status")}, {'x=y z@example.net'})
        self.assertEqual({row for row, in self.rows("SELECT recipient FROM bley_status")},
                         {recipient.replace('"', "") for recipient in recipients})

    def test_clients_by_xclient(self):
        self.run_postfix()
        for number, (address, stored) in enumerate((
                ("198.51.100.1", "198.51.100.1"), ("2001:db8::1", "2001:0db8:" + "0000:" * 5 + "0001"),
                ("::ffff:192.0.2.9", "192.0.2.9"))):
            recipient = f"r{number}@{DOMAIN}"
            self.assert_greylisted(self.send({"address": address, "helo": "friend"}, [recipient]), recipient)
            self.assertEqual(self.rows("SELECT ip FROM bley_status WHERE recipient = ?", [recipient]), [(stored,)])
        self.assert_taken(self.send(FRIEND, [BOB]), BOB)

    def test_a_real_ipv6_client(self):
        try:
            port = bleytest.free_port(host="::1")
        except OSError:
            self.skipTest("no IPv6 here")
        self.run_postfix(services=f"[::1]:{port} inet n - n - 10 smtpd\n")
        client = {"host": "::1", "port": port, "helo": "friend"}
        self.assert_greylisted(self.send(client, [BOB]), BOB)
        self.assertEqual(self.rows("SELECT ip FROM bley_status"), [("0000:" * 7 + "0001",)])
        self.move_time(PERIOD)
        self.assert_taken(self.send(client, [BOB]), BOB)

    def test_under_stress(self):
        """The banner tells that Postfix is; it then sends stress=yes."""
        port = bleytest.free_port()
        self.run_postfix(services=f"127.0.0.1:{port} inet n - n - 2 smtpd\n  -o stress=yes -o smtpd_banner=$myhostname,stress=$stress\n")
        with socket.create_connection(("127.0.0.1", port), bleytest.PATIENCE) as s:
            self.assertEqual(s.recv(1000), f"220 mx.{DOMAIN},stress=yes\r\n".encode())
        client = {**SPAMMER, "port": port}
        self.assert_greylisted(self.send(client, [BOB]), BOB)
        self.move_time(PERIOD)
        self.assert_taken(self.send(client, [BOB]), BOB)
        self.assertEqual(len(headers(self.postfix.wait_for_mail(BOB)[0])), 1)

    def test_behind_postscreen(self):
        """It has tests of its own and hands the connection on: bley sees the client, not postscreen."""
        port = bleytest.free_port()
        self.run_postfix(services=f"127.0.0.1:{port} inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\ndnsblog unix - - n - 0 dnsblog\n",
                   settings="postscreen_greet_wait = 1s\npostscreen_cache_map =\npostscreen_upstream_proxy_protocol =\n")
        client = {**SPAMMER, "port": port}
        self.assert_greylisted(self.send(client, [BOB]), BOB)
        self.move_time(PERIOD)
        self.assert_taken(self.send(client, [BOB]), BOB)
        self.assertTrue(self.postfix.wait_for_log(r"postscreen\[\d+\]: PASS NEW \[127\.0\.0\.1\]"))
        self.assertEqual(self.rows("SELECT ip FROM bley_status"), [(SPAMMER["address"],)])
        own = {"port": port, "helo": "friend"}
        self.assert_greylisted(self.send(own, [CAROL]), CAROL)
        self.assertEqual(self.rows("SELECT ip FROM bley_status WHERE recipient = ?", [CAROL]), [("127.0.0.1",)])


class OneProcessAConnection(Case):
    def serve_policy(self, listen, conf):
        return supervise.socket_activate(self, listen, conf)

    def test_few_requests_a_connection(self):
        """smtpd_policy_service_request_limit: Postfix closes and connects anew, and no answer is lost on the way."""
        self.run_postfix(settings="smtpd_policy_service_request_limit = 2\n", processes=1)
        with self.postfix.session(**SPAMMER) as session:
            for number in range(9):
                recipients = [f"r{number}@{DOMAIN}", f"postmaster@{DOMAIN}"]
                answers = session.try_to_send("sender@example.net", recipients)
                self.assert_greylisted(answers, recipients[0])
                self.assert_taken(answers, recipients[1])
        self.assertEqual(len(self.postfix.wait_for_mail(f"postmaster@{DOMAIN}", 9)), 9)
        self.assertEqual(self.rows("SELECT count(*), max(fail_count) FROM bley_status"), [(9, 0)])
        self.assertEqual(len({re.search(r"bley\[(\d+)\]", line).group(1) for line in self.log_lines()}), 9)
        self.assertFalse([line for line in self.postfix.log() if re.search("problem|policy|fatal", line) and "warning" in line])


class Utf8:
    """Addresses in other letters go into the database and are found again."""

    SENDERS = ("grüße@exämple.net", "送信者@例え.jp", "😀+tag@example.net")
    RECIPIENTS = (f"δοκιμή@{DOMAIN}", f"почта@{DOMAIN}", f"ÄÖ'ü@{DOMAIN}", f"😀@{DOMAIN}")

    def test_utf8_addresses(self):
        self.keys = self.engine()
        conf = self.write_conf(cache_valid=0, **self.keys)
        self.begin(conf, settings="smtputf8_enable = yes\n").start()
        pairs = [(sender, recipient) for sender in self.SENDERS for recipient in self.RECIPIENTS]
        for expected in (450, 250, 250):
            for sender in self.SENDERS:
                answers = self.send(SPAMMER, self.RECIPIENTS, sender, options=["SMTPUTF8"])
                self.assertEqual({code for code, _ in answers.values()}, {expected}, self.logs())
            self.pass_time(PERIOD)
        self.assertEqual(self.tuples(), sorted((sender.replace("+tag", ""), recipient) for sender, recipient in pairs))
        for recipient in self.RECIPIENTS:
            messages = self.postfix.wait_for_mail(recipient, 6)
            self.assertEqual(sum(len(headers(message)) for message in messages), 3)

    def tuples(self):
        return sorted(tuple(line.split("\t")) for line in self.query("SELECT sender, recipient FROM bley_status").splitlines())


class Utf8Sqlite(Utf8, Case):
    def engine(self):
        return {}

    def pass_time(self, seconds):
        self.move_time(seconds)

    def tuples(self):
        return sorted(self.rows("SELECT sender, recipient FROM bley_status"))


class Utf8Pgsql(Utf8, Case):
    def engine(self):
        if not servers.PostgreSQL.programs():
            self.need("initdb")
        server = servers.PostgreSQL()
        self.addCleanup(server.remove)
        name = server.database()
        self.query = lambda statement: server.sql(statement, name)
        return {"dbtype": "pgsql", "dbhost": server.host, "dbport": server.port, "dbname": name}

    def pass_time(self, seconds):
        self.query(f"UPDATE bley_status SET last_action = last_action - {seconds} * interval '1 second'")


class Utf8Mysql(Utf8, Case):
    def engine(self):
        self.need("mariadbd", "mariadb-install-db")
        server = servers.MariaDB()
        self.addCleanup(server.remove)
        name = server.database()
        self.query = lambda statement: server.sql(statement, name)
        return {"dbtype": "mysql", "dbhost": server.host, "dbname": name}

    def pass_time(self, seconds):
        self.query(f"UPDATE bley_status SET last_action = last_action - INTERVAL {seconds} SECOND")


if __name__ == "__main__":
    unittest.main()
