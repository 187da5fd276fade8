# SPDX-License-Identifier: BSD-3-Clause
"""SPF from end to end: bleyctl spf and bley against real name servers.

The rules themselves are tested without a network, in tests/unit/spf.rows.
"""

import bleytest
import dnsnet

ZONE = """
pass.test. TXT "v=spf1 a mx ip6:2001:db8::/32 -all"
pass.test. A 192.0.2.1
pass.test. MX 10 mx.pass.test.
mx.pass.test. A 192.0.2.2
two.test. TXT "v=spf1 -all"
two.test. TXT "v=spf1 +all"
parts.test. TXT "v=spf1 ip4:192.0.2.1 " "ip4:192.0.2.2 " "~all"
long.test. TXT "v=spf1 " """ + " ".join(f'"ip4:198.51.100.{i} "' for i in range(150)) + """ "ip4:192.0.2.1 -all"
include.test. TXT "v=spf1 include:pass.test ?all"
temp.test. TXT "v=spf1 include:x.servfail.test -all"
refused.test. TXT "v=spf1 a:x.refuse.test -all"
alias.test. CNAME pass.test.
macro.test. TXT "v=spf1 exists:%{ir}.%{l1r+}.%{v}.macro.test -all"
1.2.0.192.joe.in-addr.macro.test. A 127.0.0.2
space.test. TXT "v=spf1 exists:a%_b.space.test -all"
a\\032b.space.test. A 127.0.0.2
ptr.test. TXT "v=spf1 ptr -all"
host.ptr.test. A 192.0.2.3
3.2.0.192.in-addr.arpa. PTR host.ptr.test.
loop.test. TXT "v=spf1 include:loop.test -all"
void.test. TXT "v=spf1 a:no1.void.test a:no2.void.test a:no3.void.test +all"
bad.test. TXT "v=spf1 +all foo:bar"
plain.test. A 192.0.2.9
evil.test. TXT "v=spf1 -all exp=e.evil.test"
e.evil.test. TXT """ + " ".join(f'"{text}"' for text in ("%{i}" * 60, "%{i}" * 60, "%{i}" * 7 + "abcdef")) + "\n"

CASES = (
    ("192.0.2.1", "a@pass.test", "pass", "a in pass.test"),
    ("192.0.2.2", "a@pass.test", "pass", "mx in pass.test"),
    ("2001:db8::1", "a@pass.test", "pass", "ip6:2001:db8::/32 in pass.test"),
    ("192.0.2.3", "a@pass.test", "fail", "-all in pass.test"),
    ("192.0.2.1", "<a@pass.test>", "pass", "a in pass.test"),
    ("192.0.2.1", "<>", "pass", "a in pass.test"),  # HELO is pass.test
    ("192.0.2.1", "", "pass", "a in pass.test"),
    ("192.0.2.1", "a@two.test", "permerror", "permerror: more than one record, in two.test"),
    ("192.0.2.2", "a@parts.test", "pass", "ip4:192.0.2.2 in parts.test"),
    ("192.0.2.3", "a@parts.test", "softfail", "~all in parts.test"),
    ("192.0.2.1", "a@long.test", "pass", "ip4:192.0.2.1 in long.test"),
    ("192.0.2.3", "a@include.test", "neutral", "?all in include.test"),
    ("192.0.2.1", "a@temp.test", "temperror", "temperror: DNS for x.servfail.test: failed, in x.servfail.test"),
    ("192.0.2.1", "a@refused.test", "temperror", "temperror: DNS for x.refuse.test: refused, in refused.test"),
    ("192.0.2.1", "a@alias.test", "pass", "a in alias.test"),
    ("192.0.2.1", "joe+x@macro.test", "pass", "exists:%{ir}.%{l1r+}.%{v}.macro.test in macro.test"),
    ("192.0.2.1", "jim@macro.test", "fail", "-all in macro.test"),
    ("192.0.2.1", "a@space.test", "pass", "exists:a%_b.space.test in space.test"),
    ("192.0.2.3", "a@ptr.test", "pass", "ptr in ptr.test"),
    ("192.0.2.4", "a@ptr.test", "fail", "-all in ptr.test"),
    ("192.0.2.1", "a@loop.test", "permerror", "permerror: more than 10 lookups, in loop.test"),
    ("192.0.2.1", "a@void.test", "permerror", "permerror: more than 2 lookups without an answer, in void.test"),
    ("192.0.2.1", "a@bad.test", "permerror", 'permerror: unknown mechanism "foo", in bad.test'),
    ("192.0.2.1", "a@plain.test", "none", "no record in plain.test"),
    ("192.0.2.1", "a@missing.test", "none", "no record in missing.test"),
    ("192.0.2.1", "a@evil.test", "fail", "-all in evil.test"),
)


class Spf(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        self.servers = dnsnet.NameServers(self, ZONE)

    def conf(self, **keys):
        # what SPF says alone decides
        return self.write_conf(dns_servers=self.servers.address, dns_timeout=30, use_spf=1, rfc_threshold=1, **keys)

    def spf(self, client, sender, *options):
        result = self.bleyctl("spf", *options, client, sender, "pass.test")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def test_bleyctl(self):
        self.conf()
        for client, sender, word, why in CASES:
            with self.subTest(client=client, sender=sender):
                self.assertEqual(self.spf(client, sender, "--verbose"), f"{word}\n{why}\n")
        self.assertEqual(self.spf("192.0.2.1", "a@pass.test"), "pass\n")

    def test_best_guess(self):
        self.conf(use_spf_guess=1)
        self.assertEqual(self.spf("192.0.2.77", "a@plain.test", "--verbose"),
                         "pass\na/24 in plain.test (an assumed record)\n")
        self.assertEqual(self.spf("192.0.3.77", "a@plain.test"), "neutral\n")

    def test_handler(self):
        bley = self.handler(self.conf())

        def ask(address, sender):
            return bley.ask(client_address=address, sender=sender)
        self.assertEqual(ask("192.0.2.1", "a@pass.test"), "DUNNO")
        self.assertTrue(ask("192.0.2.3", "a@pass.test").startswith("DEFER_IF_PERMIT "))
        self.assertTrue(ask("192.0.2.4", "a@parts.test").startswith("DEFER_IF_PERMIT "))
        self.assertTrue(ask("192.0.2.5", "a@evil.test").startswith("DEFER_IF_PERMIT "))
        for number, domain in enumerate(("two", "temp", "include", "plain", "missing"), start=10):
            self.assertEqual(ask(f"192.0.2.{number}", f"a@{domain}.test"), "DUNNO", domain)
        self.assertEqual(bley.finish(), 0)
        self.assertEqual(
            self.rows("SELECT check_spf FROM bley_log ORDER BY rowid"), [(n,) for n in (0, 1, 1, 1, 0, 0, 0, 0, 0)])

    def test_cannot_be_read(self):
        self.conf()
        result = self.bleyctl("spf", "192.0.2", "a@pass.test", "pass.test")
        self.assertEqual((result.returncode, result.stdout), (2, ""))
        self.assertIn("192.0.2", result.stderr)
