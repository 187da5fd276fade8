# SPDX-License-Identifier: BSD-3-Clause
"""A real Exim with the ACL that we ship, and with the older one that people have in place."""

import os
import unittest

import bleytest
import supervise
from exim import DOMAIN, Exim

DEFER_TEXT = b"greylisted, try again later"

# As the Python daemon's documents had it: the empty last argument keeps newlines from Exim 4.94 on.
OLD_ACL = r"""
  warn    set acl_m_bley = ${readsocket{inet:127.0.0.1:1337}{request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=${uc:$received_protocol}\nhelo_name=$sender_helo_name\nclient_address=$sender_host_address\nclient_name=$sender_host_name\nsender=$sender_address\nrecipient=$local_part@$domain\ninstance=$sender_host_address/$sender_address/$local_part@$domain\n\n}{5s}{}{action=DUNNO}}
  defer   message        = ${sg{$acl_m_bley}{\Naction=DEFER_IF_PERMIT\N}{}}
          condition      = ${if match{$acl_m_bley}{\N^action=DEFER\N}}
"""


class EximCase:
    kind = "exim-light"
    shipped = True

    def setUp(self):
        super().setUp()
        self.need_root()
        self.need("unshare")

    def acl(self, address):
        if not self.shipped:
            return OLD_ACL.replace("inet:127.0.0.1:1337", address)
        with open(os.path.join(bleytest.SRC, "conf", "exim-acl.example"), encoding="utf-8") as stream:
            return stream.read().replace("inet:127.0.0.1:1337", address)

    def serve(self, unix=False, **keys):
        conf = self.write_conf(**{"cache_valid": 0, **keys})
        listen = self.path("policy") if unix else f"127.0.0.1:{bleytest.free_port()}"
        supervise.warm(self, [listen], conf)
        self.address = listen if unix else f"inet:{listen}"
        self.exim = Exim(self, self.kind, self.acl(self.address))

    def rcpt(self, *recipients, sender="alice@example.net", data=True):
        """One SMTP session; the answers to RCPT TO."""
        with self.exim.session() as smtp:
            self.assertEqual(smtp.mail(sender)[0], 250)
            answers = [smtp.rcpt(recipient) for recipient in recipients]
            if data and any(code == 250 for code, _ in answers):
                self.assertEqual(smtp.data(b"Subject: test\r\nFrom: alice@example.net\r\n\r\nhello\r\n")[0], 250)
            return answers

    def assert_deferred(self, answer):
        self.assertEqual(answer[0], 451, (answer, self.exim.log(), self.log_lines()))
        self.assertIn(DEFER_TEXT, answer[1])

    def wait_for_messages(self, count):
        self.wait_until(lambda: len(self.exim.messages()) == count, f"{count} messages")
        return self.exim.messages()

    def test_greylisting(self):
        self.serve()
        self.assert_deferred(self.rcpt(f"bob@{DOMAIN}")[0])
        self.assert_deferred(self.rcpt(f"bob@{DOMAIN}")[0])
        self.assertEqual(self.rcpt(f"postmaster@{DOMAIN}")[0][0], 250)
        self.move_time(3600)
        self.assertEqual(self.rcpt(f"bob@{DOMAIN}")[0][0], 250)
        self.assertEqual(self.rcpt(f"bob@{DOMAIN}")[0][0], 250)
        messages = self.wait_for_messages(3)
        self.assertEqual([message.count("X-Greylist: delayed 36") for message in messages],
                         [0, 1 if self.shipped else 0, 0])

    def test_one_deferred_and_one_not(self):
        self.serve()
        bad, good = self.rcpt(f"bob@{DOMAIN}", f"postmaster@{DOMAIN}")
        self.assert_deferred(bad)
        self.assertEqual(good[0], 250)
        self.wait_for_messages(1)

    def test_bley_is_away(self):
        self.serve()
        self.exim = Exim(self, self.kind, self.acl(f"inet:127.0.0.1:{bleytest.free_port()}"))
        self.assertEqual(self.rcpt(f"bob@{DOMAIN}")[0][0], 250)

    def test_a_unix_socket(self):
        self.serve(unix=True)
        self.assert_deferred(self.rcpt(f"bob@{DOMAIN}")[0])

    def test_exim_workaround(self):
        self.serve(exim_workaround=1)
        self.assert_deferred(self.rcpt(f"bob@{DOMAIN}")[0])
        self.move_time(3600)
        self.assertEqual(self.rcpt(f"bob@{DOMAIN}")[0][0], 250)

    def test_odd_addresses(self):
        self.serve()
        for local in ('"a b"', "o'brien", "a=b", "x+y"):
            self.assert_deferred(self.rcpt(f"{local}@{DOMAIN}", sender="al+ice@example.net")[0])
        self.assertEqual(sorted(self.rows("SELECT DISTINCT sender, recipient FROM bley_status")),
                         [("al@example.net", f"{local}@{DOMAIN}")
                          for local in ("a b", "a=b", "o'brien", "x")])


class EximLight(EximCase, bleytest.TestCase):
    def test_fifty_sessions_at_once(self):
        self.serve()

        def talk(number):
            bad, good = self.rcpt(f"r{number}@{DOMAIN}", f"postmaster@{DOMAIN}", data=False)
            self.assert_deferred(bad)
            self.assertEqual(good[0], 250)

        bleytest.in_threads(talk, [(number,) for number in range(50)])
        self.assertEqual(self.rows("SELECT count(*) FROM bley_status"), [(50,)])

    def test_the_null_sender_is_spared(self):
        self.serve()
        self.assertEqual(self.rcpt(f"bob@{DOMAIN}", sender="")[0][0], 250)
        self.assertFalse([line for line in self.log_lines() if "decided" in line])

    def test_without_half_closing(self):
        """shutdown=no needs exim_workaround: who keeps its side open is not answered to the end."""
        self.serve(exim_workaround=1)
        self.exim = Exim(self, self.kind, self.acl(self.address).replace("{5s}", "{5s:shutdown=no}"))
        self.assert_deferred(self.rcpt(f"bob@{DOMAIN}")[0])


class EximHeavy(EximCase, bleytest.TestCase):
    kind = "exim-heavy"


class EximOldAcl(EximCase, bleytest.TestCase):
    shipped = False


if __name__ == "__main__":
    unittest.main()
