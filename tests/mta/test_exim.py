# SPDX-License-Identifier: BSD-3-Clause
"""A real Exim with the ACLs that we ship, and with the older ones that people have in place."""

import os
import re
import sqlite3
import unittest

import bleytest
import supervise
from exim import DOMAIN, RELAY, DebianExim, Exim, shipped

DEFER_TEXT = b"greylisted, try again later"
TWO_LINES = rb"^ ?greylisted, try again later\n\s*$"
PERIOD = 29 * 60
BOB = f"bob@{DOMAIN}"
POSTMASTER = f"postmaster@{DOMAIN}"
MESSAGE = b"Subject: test %d\r\nFrom: alice@example.net\r\n\r\nhello\r\n"

# As the Python daemon's documents had it: the empty last argument keeps newlines from Exim 4.94 on.
OLD_ACL = r"""
  warn    set acl_m_bley = ${readsocket{inet:127.0.0.1:1337}{request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=${uc:$received_protocol}\nhelo_name=$sender_helo_name\nclient_address=$sender_host_address\nclient_name=$sender_host_name\nsender=$sender_address\nrecipient=$local_part@$domain\ninstance=$sender_host_address/$sender_address/$local_part@$domain\n\n}{5s}{}{action=DUNNO}}
  defer   message        = ${sg{$acl_m_bley}{\Naction=DEFER_IF_PERMIT\N}{}}
          condition      = ${if match{$acl_m_bley}{\N^action=DEFER\N}}
"""


class EximCase:
    kind = "exim-light"

    def setUp(self):
        super().setUp()
        self.need_root()
        self.sent = 0

    def begin(self, unix=False, **keys):
        """bley in warm mode, and an Exim that asks it."""
        conf = self.write_conf(**{"cache_valid": 0, **keys})
        listen = self.path("policy") if unix else f"127.0.0.1:{bleytest.free_port()}"
        self.bley, addresses = supervise.warm(self, [listen], conf)
        self.bley_address = addresses[0]
        self.start_exim(listen if unix else f"inet:{listen}")

    def start_exim(self, socket):
        """The shipped ACLs, to the letter: the macro says where bley is."""
        self.exim = Exim(self, self.kind, shipped("exim-acl.example"), more=shipped("exim-acl-predata.example"),
                         macros=f"BLEY_SOCKET = {socket}\nacl_smtp_predata = acl_bley_predata")

    def rcpt(self, *recipients, sender="alice@example.net", data=True, options=(), **session):
        """One SMTP session; the answers to RCPT TO."""
        with self.exim.session(**session) as smtp:
            self.assertEqual(smtp.mail(sender, options)[0], 250)
            answers = [smtp.rcpt(recipient) for recipient in recipients]
            if data and any(code == 250 for code, _ in answers):
                self.assertEqual(smtp.data(self.message())[0], 250, self.logs())
            return answers

    def message(self):
        """The next one."""
        self.sent += 1
        return MESSAGE % self.sent

    def logs(self):
        return self.exim.log() + "\n".join(self.log_lines())

    def assert_deferred(self, answer):
        self.assertEqual(answer[0], 451, (answer, self.logs()))
        self.assertIn(DEFER_TEXT, answer[1])

    def assert_taken(self, answer):
        self.assertEqual(answer[0], 250, (answer, self.logs()))

    def assert_testing_session(self, client, stored):
        """exim -bh, as its manual has it: what would happen to a client of any address."""
        dialogue = f"EHLO friend\r\nMAIL FROM:<alice@example.net>\r\nRCPT TO:<{BOB}>\r\nQUIT\r\n"
        done = self.exim.run("-bh", client, input=dialogue, stdin=None)
        self.assertIn(f"451 {DEFER_TEXT.decode()}\n", done.stdout.replace("\r", ""), done.stderr)
        self.assertEqual(self.rows("SELECT count(*) FROM bley_status WHERE ip = ? AND status = 2", [stored]), [(1,)])

    def decided(self):
        return [line for line in self.log_lines() if "decided" in line]

    def wait_for_messages(self, count):
        """In the order in which they were sent: each is delivered by a process of its own."""
        self.wait_until(lambda: len(self.exim.messages()) == count, f"{count} messages")
        return sorted(self.exim.messages(), key=lambda message: int(re.search(r"(?m)^Subject: test (\d+)$", message).group(1)))

    def headers(self, messages):
        """How many headers of ours each has; they are whole and the first of all but Exim's own."""
        counts = []
        for message in messages:
            found = re.findall(r"(?m)^X-Greylist: delayed \d+ seconds by bley-\S+ at \S+; \w{3}, \d\d \w{3} \d{4} [\d:]{8} \S+$", message)
            self.assertEqual(len(found), message.lower().count("x-greylist"), message)
            counts.append(len(found))
        return counts


class Shipped(EximCase):
    """What holds for both of Debian's builds."""

    def test_greylisting(self):
        self.begin()
        self.assert_deferred(self.rcpt(BOB)[0])
        self.assert_deferred(self.rcpt(BOB)[0])
        self.assert_taken(self.rcpt(POSTMASTER)[0])
        self.move_time(3600)
        self.assert_taken(self.rcpt(BOB)[0])
        self.assert_taken(self.rcpt(BOB)[0])
        self.assertEqual(self.headers(self.wait_for_messages(3)), [0, 1, 0])
        self.assertIn("delayed 36", self.exim.messages()[1])

    def test_the_words_of_a_deferral(self):
        """The reply has one line, and what follows it is read as a reply of its own."""
        self.begin()
        with self.exim.session() as smtp:
            smtp.mail("alice@example.net")
            self.assertEqual(smtp.rcpt(BOB), (451, DEFER_TEXT))
            self.assertEqual(smtp.noop()[0], 250)
        self.assertIn(f"F=<alice@example.net> temporarily rejected RCPT <{BOB}>: bley: defer_if_permit greylisted", self.exim.log())

    def test_a_code_of_ones_own(self):
        self.begin(reject_msg="4.2.0 not yet")
        self.assertEqual(self.rcpt(BOB), [(451, b"4.2.0 not yet")])

    def test_a_client_without_suspicion(self):
        """DUNNO: no header, no delay."""
        self.begin()
        self.assert_taken(self.rcpt(BOB, helo="[127.0.0.2]")[0])
        self.assertEqual(self.headers(self.wait_for_messages(1)), [0])
        self.assertIn("action=DUNNO", self.decided()[0])

    def test_one_deferred_and_one_not(self):
        """What was said of one recipient does not stick to the next, though that one is not asked about."""
        self.begin()
        with self.exim.session() as smtp:
            smtp.mail("alice@example.net")
            self.assert_deferred(smtp.rcpt(BOB))
            self.assertEqual(smtp.rcpt("bob@elsewhere.example"), (550, b"relay not permitted"))
            self.assert_taken(smtp.rcpt(POSTMASTER))
            self.assert_taken(smtp.data(self.message()))
        self.wait_for_messages(1)
        self.assertEqual(len(self.decided()), 2)

    def test_two_recipients_one_header(self):
        """They have waited for different times, so that two headers would differ."""
        self.begin()
        carol = f"carol@{DOMAIN}"
        self.assert_deferred(self.rcpt(BOB)[0])
        self.move_time(120)
        self.assert_deferred(self.rcpt(carol)[0])
        self.move_time(PERIOD)
        for answer in self.rcpt(BOB, carol):
            self.assert_taken(answer)
        self.assertEqual(sum(self.headers(self.wait_for_messages(2))), 2)
        self.assertEqual(sum("PREPEND" in line for line in self.decided()), 2)

    def test_a_unix_socket(self):
        self.begin(unix=True)
        self.assert_deferred(self.rcpt(BOB)[0])
        self.move_time(3600)
        self.assert_taken(self.rcpt(BOB)[0])

    def test_exim_workaround(self):
        for unix in (False, True):
            self.begin(unix=unix, exim_workaround=1)
            self.assert_deferred(self.rcpt(f"bob{unix}@{DOMAIN}")[0])
        self.move_time(3600)
        self.assert_taken(self.rcpt(f"bobTrue@{DOMAIN}")[0])

    def test_odd_addresses(self):
        """Nothing in an address is taken for an attribute, or expanded."""
        self.begin()
        odd = ('"a b"', "o'brien", "a=b", "x+y", '"q\\"r"', '"$pid"', '"n\\\\nhelo_name=[127.0.0.2]\\\\n"', '"${uc:x}"', "per%cent")
        for local in odd:
            self.assert_deferred(self.rcpt(f"{local}@{DOMAIN}", sender='"s $pid"@example.net')[0])
        kept = ("a b", "o'brien", "a=b", "x", 'q"r', "$pid", "n\\nhelo_name=[127.0.0.2]\\n", "${uc:x}", "per%cent")
        self.assertEqual(self.rows("SELECT DISTINCT sender, recipient FROM bley_status ORDER BY recipient"),
                         sorted([('"s $pid"@example.net', f"{local}@{DOMAIN}") for local in kept], key=lambda row: row[1]))

    def test_utf8_addresses(self):
        self.begin()
        sender, recipient = "grüße@exämple.net", f"δοκιμή@{DOMAIN}"
        self.assert_deferred(self.rcpt(recipient, sender=sender, options=["SMTPUTF8"])[0])
        self.assertEqual(self.rows("SELECT sender, recipient FROM bley_status"), [(sender, recipient)])
        self.move_time(3600)
        self.assert_taken(self.rcpt(recipient, sender=sender, options=["SMTPUTF8"])[0])
        self.assertEqual(self.headers(self.wait_for_messages(1)), [1])

    def test_fifty_sessions_at_once(self):
        self.begin()

        def talk(number):
            bad, good = self.rcpt(f"r{number}@{DOMAIN}", POSTMASTER, data=False)
            self.assert_deferred(bad)
            self.assert_taken(good)

        bleytest.in_threads(talk, [(number,) for number in range(50)])
        self.assertEqual(self.rows("SELECT count(*) FROM bley_status"), [(50,)])

    def test_its_testing_session(self):
        self.begin()
        self.assert_testing_session("2001:db8::7", "2001:0db8:0000:0000:0000:0000:0000:0007")


class EximLight(Shipped, bleytest.TestCase):
    def test_bley_is_away(self):
        self.begin()
        for socket in (f"inet:127.0.0.1:{bleytest.free_port()}", self.path("nothing")):
            self.start_exim(socket)
            self.assert_taken(self.rcpt(BOB)[0])

    def test_where_it_is_asked_by_default(self):
        """Without the macro: where our units listen."""
        text = shipped("exim-acl.example")
        self.assertIn("set acl_m_bley = inet:127.0.0.1:1337\n", text)
        self.begin()
        self.exim = Exim(self, self.kind, text.replace("127.0.0.1:1337", f"127.0.0.1:{self.bley_address[1]}"))
        self.assert_deferred(self.rcpt(BOB)[0])

    def test_who_is_spared(self):
        self.begin()
        self.assert_taken(self.rcpt(BOB, source=RELAY)[0])
        with self.exim.session() as smtp:
            smtp.login("user", "secret")
            smtp.mail("alice@example.net")
            self.assert_taken(smtp.rcpt(BOB))
        self.assertEqual(self.decided(), [])

    def test_a_callout_is_not_delayed(self):
        """Another server asks whether an address of ours exists: it never comes to DATA."""
        self.begin()
        self.assert_taken(self.rcpt(BOB, sender="", data=False)[0])
        self.assertEqual(self.decided(), [])

    def test_the_null_sender_waits_at_data(self):
        self.begin()
        carol = f"carol@{DOMAIN}"

        def bounce(*recipients):
            with self.exim.session() as smtp:
                smtp.mail("")
                for recipient in recipients:
                    self.assert_taken(smtp.rcpt(recipient))
                code, text = smtp.docmd("DATA")
                if code != 354:
                    return code, text
                smtp.send(self.message() + b".\r\n")
                return smtp.getreply()

        self.assert_deferred(bounce(BOB))
        self.assert_taken(bounce(POSTMASTER))
        self.move_time(3600)
        self.assert_taken(bounce(BOB))
        self.assert_taken(bounce(BOB))
        self.assert_taken(bounce(carol, BOB))
        self.assertEqual(self.headers(self.wait_for_messages(5)), [0, 1, 0, 0, 0])
        self.assertEqual(self.rows("SELECT sender, recipient FROM bley_status"), [("", BOB)])

    def test_without_half_closing(self):
        """shutdown=no needs exim_workaround: who keeps its side open is not answered to the end."""
        for workaround, seconds, check in ((1, 60, self.assert_deferred), (0, 1, self.assert_taken)):
            self.begin(exim_workaround=workaround)
            self.exim = Exim(self, self.kind, shipped("exim-acl.example", f"{seconds}s:shutdown=no"),
                             macros=f"BLEY_SOCKET = inet:127.0.0.1:{self.bley_address[1]}")
            check(self.rcpt(f"bob{workaround}@{DOMAIN}")[0])

    def test_an_answer_too_late(self):
        """Exim has closed without reading it: the mail passes, and the handler serves on."""
        self.begin(db_timeout=30)
        self.assert_deferred(self.rcpt(BOB)[0])
        lock = sqlite3.connect(self.database(), isolation_level=None)
        self.addCleanup(lock.close)
        lock.execute("BEGIN IMMEDIATE")
        self.exim = Exim(self, self.kind, shipped("exim-acl.example", "1s"),
                         macros=f"BLEY_SOCKET = inet:127.0.0.1:{self.bley_address[1]}")
        self.assert_taken(self.rcpt(f"carol@{DOMAIN}")[0])
        lock.execute("ROLLBACK")
        self.wait_for_log(f"decided action=DEFER_IF_PERMIT.*carol@{DOMAIN}")
        self.start_exim(f"inet:127.0.0.1:{self.bley_address[1]}")
        self.assert_deferred(self.rcpt(f"dave@{DOMAIN}")[0])
        self.assertIsNone(self.bley.poll())

    def test_clients_that_close_without_reading(self):
        """As Exim does it, half-closing first, and at once: what they asked is decided, who comes next is served."""
        self.begin()
        for number in range(20):
            client = bleytest.PolicyClient(self.bley_address)
            client.send(bleytest.suspicious(recipient=f"r{number}@{DOMAIN}"))
            if number % 2:
                client.half_close()
            client.close()
        self.assert_deferred(self.rcpt(BOB)[0])
        self.wait_until(lambda: self.rows("SELECT count(*) FROM bley_status") == [(21,)], "21 decisions")
        self.assertFalse([line for line in self.log_lines() if "error: " in line])


class EximHeavy(Shipped, bleytest.TestCase):
    kind = "exim-heavy"


class OldAcls(EximCase, bleytest.TestCase):
    """They are in place since the Python daemon, or postgrey; nobody changes them because bley is new."""

    def start_exim(self, socket):
        self.exim = Exim(self, self.kind, self.acl.replace("inet:127.0.0.1:1337", socket))

    def use(self, acl, header, **keys):
        self.acl = acl
        self.begin(**keys)
        with self.exim.session() as smtp:
            smtp.mail("alice@example.net")
            answer = smtp.rcpt(BOB)
            self.assert_deferred(answer)
            self.assert_taken(smtp.rcpt(POSTMASTER))
            self.assert_taken(smtp.data(self.message()))
        self.move_time(3600)
        self.assert_taken(self.rcpt(BOB)[0])
        self.assertEqual(self.headers(self.wait_for_messages(2)), [0, header])
        return answer[1]

    def test_of_the_python_daemon(self):
        """From Exim 4.94 on the answer's empty line is part of the reply, of which it makes two lines."""
        self.assertRegex(self.use(OLD_ACL, 0), TWO_LINES)

    def test_of_the_python_daemon_with_its_workaround(self):
        self.assertRegex(self.use(OLD_ACL, 0, exim_workaround=1), TWO_LINES)

    def test_of_postgrey(self):
        """As in its README.exim, but for the place of the socket; it reads the answer's first word itself."""
        path = os.path.join(os.environ.get("POSTGREY_ROOT", ""), "usr/share/doc/postgrey/README.exim")
        if not os.path.exists(path):
            self.need("postgrey's README.exim")
        with open(path, encoding="utf-8") as stream:
            lines = re.findall(r"(?m)^ +(?:defer|warn|set|message|condition|log_message)\b.*=.*$", stream.read())
        self.assertEqual(len(lines), 7)
        self.use("\n".join(lines).replace("/var/run/postgrey", "inet:127.0.0.1:1337"), 1)


class DebianCase(EximCase):
    """The files go where exim-debian-macros.example says, and nothing of Debian's is changed."""

    split = True

    def start_exim(self, socket):
        macros = shipped("exim-debian-macros.example")
        changes = {"#BLEY_SOCKET = /run/bley/policy": f"BLEY_SOCKET = {socket}"}
        files = {"bley_acl": shipped("exim-acl.example")}
        if self.split:
            changes["#acl_smtp_predata = acl_bley_predata"] = "acl_smtp_predata = acl_bley_predata"
            files["conf.d/acl/50_bley"] = shipped("exim-acl-predata.example")
        for there, line in changes.items():
            self.assertEqual(macros.count(there), 1)
            macros = macros.replace(there, line)
        files["conf.d/main/000_bley" if self.split else "exim4.conf.localmacros"] = macros
        self.exim = DebianExim(self, self.kind, files, self.split)

    def test_the_split_configuration(self):
        self.begin()
        self.assert_deferred(self.rcpt(BOB)[0])
        self.assert_taken(self.rcpt(BOB, source="127.0.0.1")[0])
        self.move_time(3600)
        self.assert_taken(self.rcpt(BOB)[0])
        self.assertEqual(self.headers(self.wait_for_messages(2)), [0, 1])
        with self.exim.session() as smtp:
            smtp.mail("")
            self.assert_taken(smtp.rcpt(BOB))
            self.assert_deferred(smtp.docmd("DATA"))
        self.assert_testing_session("203.0.113.7", "203.0.113.7")


class Debian(DebianCase, bleytest.TestCase):
    def test_the_configuration_in_one_file(self):
        self.split = False
        self.begin()
        self.assert_deferred(self.rcpt(BOB)[0])


class DebianHeavy(DebianCase, bleytest.TestCase):
    kind = "exim-heavy"


if __name__ == "__main__":
    unittest.main()
