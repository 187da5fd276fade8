# SPDX-License-Identifier: BSD-3-Clause
"""DNS lists through the real handler: real name servers where they can say it, a lying one where they cannot."""

import os

import bleytest
import dnsnet
from dnsnet import NXDOMAIN, REFUSED, SERVFAIL, FakeServer

DEFER = "DEFER_IF_PERMIT greylisted, try again later"
CLIENT = "192.0.2.9"
R = "9.2.0.192"
R6 = "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"

ZONE = f"""
{R}.bl2.test. A 127.0.0.2
{R}.bl4.test. A 127.0.0.4
{R}.both.test. A 127.0.0.2
{R}.both.test. A 127.0.0.4
{R6}.bl2.test. A 127.0.0.2
other.clean.test. A 127.0.0.2
{R}.textonly.test. TXT "no address"
{R}.alias.test. CNAME {R}.bl2.test.
*.wild.test. A 127.0.0.2
*.parked.test. A 203.0.113.9
{R}.typo.test. A 127.255.255.252
{R}.public.test. A 127.255.255.254
{R}.limit.test. A 127.255.255.255
{R}.one.test. A 127.0.0.1
{R}.quota.test. A 127.0.0.255
{R}.trusted.test. A 127.0.5.2
{R}.special.test. A 127.0.10.1
{R}.abcdefghijklmnop0123456789.zen.dq.test. A 127.0.0.2
{R}.qrstuvwxyzabcdef0123456789.zen.dq.test. A 127.255.255.255
""" + "".join(f"{R}.big.test. A 127.0.{i // 250 + 1}.{i % 250 + 1}\n" for i in range(400))


class ListCase(bleytest.TestCase):
    senders = 0

    def conf(self, servers, **keys):
        values = {"rfc_threshold": 0, "cache_valid": 0, "dns_timeout": 60, "use_spf": 0, "dnswls": "", "dnsbls": ""}
        values.update(keys)
        values.setdefault("dnsbl_threshold", 1 if values["dnsbls"] else 0)
        values.setdefault("dnswl_threshold", 1 if values["dnswls"] else 0)
        return self.write_conf(dns_servers=", ".join(getattr(s, "address", s) for s in servers), **values)

    def request(self, **changes):
        """Attributes of a new triplet, so that nothing is known about it."""
        self.senders += 1
        return {"client_address": CLIENT, "sender": f"s{self.senders}@sender.test", **changes}

    def last_scores(self):
        """(check_dnswl, check_dnsbl) of the last row of the log table."""
        return self.rows("SELECT check_dnswl, check_dnsbl FROM bley_log ORDER BY rowid DESC LIMIT 1")[0]

    def decide(self, servers, client=CLIENT, **keys):
        """One new triplet with these keys: (answer, DNSWL score, DNSBL score)."""
        handler = self.handler(self.conf(servers, **keys))
        answer = handler.ask(**self.request(client_address=client))
        self.assertEqual(handler.finish(), 0)
        return (answer, *self.last_scores())

    def warnings(self):
        return [line for line in self.log_lines() if "DNS" in line and " decided " not in line]


class RealServers(ListCase):
    def setUp(self):
        super().setUp()
        self.servers = dnsnet.NameServers(self, ZONE)

    def check(self, *rows, **keys):
        for lists, answer, white, black in rows:
            with self.subTest(lists):
                self.assertEqual(self.decide([self.servers], **lists, **keys), (answer, white, black))

    def test_listed_or_not(self):
        self.check(
            ({"dnsbls": "bl2.test"}, DEFER, 0, 1),
            ({"dnsbls": "clean.test"}, "DUNNO", 0, 0),
            ({"dnsbls": "clean.test, bl2.test"}, DEFER, 0, 1),
            ({"dnsbls": "nosuchlist.example"}, "DUNNO", 0, 0),
            ({"dnsbls": "textonly.test"}, "DUNNO", 0, 0),
            ({"dnsbls": "alias.test"}, DEFER, 0, 1),
            ({"dnsbls": "wild.test"}, DEFER, 0, 1),
            ({"dnsbls": "big.test"}, DEFER, 0, 1),  # over TCP
            ({"dnswls": "trusted.test"}, "DUNNO", 1, 0),
            ({"dnswls": "trusted.test", "dnsbls": "clean.test"}, "DUNNO", 1, 0),
            ({"dnswls": "clean.test", "dnsbls": "bl2.test"}, DEFER, 0, 1),
        )

    def test_filters(self):
        self.check(
            ({"dnsbls": "bl2.test=127.0.0.2"}, DEFER, 0, 1),
            ({"dnsbls": "bl2.test=127.0.0.[3..11]"}, "DUNNO", 0, 0),
            ({"dnsbls": "both.test=127.0.0.4"}, DEFER, 0, 1),
            ({"dnsbls": "bl4.test=127.0.0.[1;2;4..7]"}, DEFER, 0, 1),
            ({"dnswls": "trusted.test=127.0.[2..9;11..255].[0..3]"}, "DUNNO", 1, 0),
            ({"dnswls": "special.test=127.0.[2..9;11..255].[0..3]"}, "DUNNO", 0, 0),
        )

    def test_weights_and_thresholds(self):
        self.check(
            ({"dnsbls": "bl2.test*2", "dnsbl_threshold": 2}, DEFER, 0, 2),
            ({"dnsbls": "bl2.test, bl4.test", "dnsbl_threshold": 2}, DEFER, 0, 2),
            ({"dnsbls": "both.test=127.0.0.2*2, both.test=127.0.0.4", "dnsbl_threshold": 3}, DEFER, 0, 3),
            ({"dnsbls": "bl2.test*2, bl4.test*-1", "dnsbl_threshold": 2}, "DUNNO", 0, 1),
            ({"dnsbls": "bl2.test*3, bl4.test*-1", "dnsbl_threshold": 3}, "DUNNO", 0, 2),
            # out of reach: not waited for, so there is no score
            ({"dnsbls": "bl2.test", "dnsbl_threshold": 2}, "DUNNO", 0, 1),
            ({"dnsbls": "both.test*2", "dnsbl_threshold": 3}, "DUNNO", 0, 2),
            ({"dnsbls": "bl2.test", "dnsbl_threshold": 0}, "DUNNO", 0, 0),
            ({"dnswls": "trusted.test", "dnswl_threshold": 0, "dnsbls": "bl2.test"}, DEFER, 0, 1),
            ({"dnswls": "trusted.test*2", "dnswl_threshold": 2, "dnsbls": "bl2.test"}, "DUNNO", 2, 0),
        )

    def test_no_listings(self):
        """Error codes and answers outside 127/8: never a hit, and one warning for the list."""
        for name, text in (
            ("typo", "127.255.255.252"), ("public", "127.255.255.254"), ("limit", "127.255.255.255"), ("one", "127.0.0.1"),
            ("parked", "203.0.113.9"),
        ):
            with self.subTest(name):
                before = len(self.warnings())
                self.assertEqual(self.decide([self.servers], dnsbls=f"{name}.test"), ("DUNNO", 0, 0))
                new = self.warnings()[before:]
                self.assertEqual(len(new), 1, new)
                self.assertIn(f"{name}.test", new[0])
                self.assertIn(text, new[0])
        self.assertEqual(self.decide([self.servers], dnswls="quota.test", dnsbls="bl2.test"), (DEFER, 0, 1))
        self.assertEqual(self.decide([self.servers], dnswls="parked.test", dnsbls="bl2.test"), (DEFER, 0, 1))
        self.assertEqual(self.decide([self.servers], dnsbls="limit.test=127.[0..255].[0..255].[0..255]"), ("DUNNO", 0, 0))
        self.assertEqual(self.decide([self.servers], dnsbls="one.test=127.0.0.1"), (DEFER, 0, 1))

    def test_one_warning_a_connection_and_list(self):
        conf = self.conf([self.servers], dnsbls="parked.test, public.test")
        for _ in range(2):
            handler = self.handler(conf)
            for _ in range(3):
                self.assertEqual(handler.ask(**self.request()), "DUNNO")
            handler.finish()
        self.assertEqual(len([w for w in self.warnings() if "parked.test" in w]), 2)
        self.assertEqual(len([w for w in self.warnings() if "public.test" in w]), 2)

    def test_failing_lists(self):
        for name, text in (("x.refuse.test", "REFUSED"), ("x.servfail.test", "SERVFAIL")):
            self.assertEqual(self.decide([self.servers], dnsbls=f"{name}, bl2.test*2", dnsbl_threshold=2), (DEFER, 0, 2))
            self.assertEqual(self.decide([self.servers], dnsbls=name), ("DUNNO", 0, 0))
            self.assertIn(text, self.warnings()[-1])

    def test_a_list_that_never_answers(self):
        # where it can still decide, until the deadline
        self.assertEqual(self.decide([self.servers], dnsbls="x.drop.test, clean.test", dns_timeout=5), ("DUNNO", 0, 0))
        self.assertIn("x.drop.test did not answer", self.warnings()[-1])
        # where it cannot, not at all: the deadline is a minute
        self.assertEqual(self.decide([self.servers], dnsbls="x.drop.test, bl2.test"), (DEFER, 0, 1))
        self.assertEqual(self.decide([self.servers], dnsbls="x.drop.test, clean.test", dnsbl_threshold=3), ("DUNNO", 0, 0))
        self.assertEqual(
            self.decide([self.servers], dnswls="trusted.test", dnsbls="x.drop.test, bl2.test")[:2], ("DUNNO", 1))

    def test_ipv6(self):
        for client, answer in (("2001:db8::9", DEFER), ("2001:DB8:0::0:9", DEFER), ("2001:db8::8", "DUNNO")):
            self.assertEqual(self.decide([self.servers], client=client, dnsbls="bl2.test")[0], answer)
        self.assertEqual(self.decide([self.servers], client="::ffff:192.0.2.9", dnsbls="bl2.test")[0], DEFER)

    def test_private_keys_are_not_logged(self):
        self.assertEqual(self.decide([self.servers], dnsbls="abcdefghijklmnop0123456789.zen.dq.test"), (DEFER, 0, 1))
        self.assertEqual(self.decide([self.servers], dnsbls="qrstuvwxyzabcdef0123456789.zen.dq.test"), ("DUNNO", 0, 0))
        log = "\n".join(self.log_lines())
        self.assertIn("KEY.zen.dq.test", log)
        self.assertNotIn("0123456789", log)


class FakeServers(ListCase):
    """What no real server does."""

    def listed(self, q):
        if q.type == "A" and q.name.startswith(R):
            q.address()
        else:
            q.reply(rcode=dnsnet.NXDOMAIN)

    def test_all_lists_and_spf_at_once(self):
        """Nothing is answered before all have been asked: one after the other would end at the deadline."""
        lists = [f"l{i}.test" for i in range(8)]
        waiting = []

        def rule(q):
            waiting.append(q)
            if len({(w.name, w.type) for w in waiting}) == 17:
                for w in waiting:
                    w.reply(rcode=dnsnet.NXDOMAIN)
        server = FakeServer(self, rule)
        result = self.decide(
            [server], dnsbls=", ".join(lists), dnswls=", ".join("w" + name for name in lists), use_spf=1, rfc_threshold=1)
        self.assertEqual(result, ("DUNNO", 0, 0))
        self.assertEqual([q.name for q in server.asked(kind="TXT")][:1], ["sender.test"])

    def test_one_query_a_zone(self):
        server = FakeServer(self, self.listed)
        self.assertEqual(
            self.decide([server], dnsbls="a.test=127.0.0.2, a.test=127.0.0.3, a.test*2, b.test", dnswls="a.test=127.0.0.9",
                        dnsbl_threshold=4), (DEFER, 0, 4))
        self.assertEqual(sorted(q.name for q in server.queries), [f"{R}.a.test", f"{R}.b.test"])

    def test_a_slow_list_is_waited_for(self):
        """It answers after 2 s, the retransmission included."""
        def rule(q):
            if "slow" in q.name:
                q.later(2, q.address)
            else:
                self.listed(q)
        server = FakeServer(self, rule)
        self.assertEqual(self.decide([server], dnsbls="slow.test"), (DEFER, 0, 1))
        self.assertEqual(self.decide([server], dnswls="slow.test", dnsbls="bl.test"), ("DUNNO", 1, 0))

    def test_what_is_switched_off_is_not_asked(self):
        server = FakeServer(self, self.listed)
        self.decide([server], dnsbls="bl.test", dnswls="wl.test", dnswl_threshold=0)
        self.decide([server], dnsbls="bl.test", dnswls="wl.test", dnswl_threshold=0, dnsbl_threshold=0)
        self.assertEqual([q.name for q in server.queries], [f"{R}.bl.test"])

    def test_spf_is_not_asked_where_it_cannot_matter(self):
        """The checks are off; or HELO alone decides."""
        server = FakeServer(self, lambda q: q.reply(rcode=dnsnet.NXDOMAIN))
        self.decide([server], dnsbls="bl.test", use_spf=1, rfc_threshold=0)
        handler = self.handler(self.conf([server], dnsbls="bl.test", use_spf=1, rfc_threshold=2))
        handler.ask(**self.request(client_name="unknown", helo_name="friend"))
        handler.finish()
        self.assertEqual(server.asked(kind="TXT"), [])

    def test_forged_answers(self):
        def forge(q):
            lie = [(None, "A", "127.0.0.2")]
            q.send(q.packet(lie, id=q.id ^ 1))
            q.send_from_elsewhere(q.packet(lie))
            q.send(q.packet([(f"{R}.x.test", "A", "127.0.0.2")], question=dnsnet.name_wire(f"{R}.x.test") + b"\0\1\0\1"))
            q.reply(rcode=dnsnet.NXDOMAIN)
        self.assertEqual(self.decide([FakeServer(self, forge)], dnsbls="a.test, b.test"), ("DUNNO", 0, 0))

    def test_malformed_answers(self):
        for packet in (
            lambda q: q.packet([b"\xc0\xff" * 20]), lambda q: q.packet(counts=(1, 9, 0, 0)),
            lambda q: q.packet([(None, "A", b"\1\2")]), lambda q: q.packet([(None, "CNAME", b"\xc0\x0c")]),
        ):
            server = FakeServer(self, lambda q, p=packet: q.send(p(q)))
            self.assertEqual(self.decide([server], dnsbls="a.test"), ("DUNNO", 0, 0))

    def test_the_second_server_helps(self):
        good = FakeServer(self, self.listed)
        lame = FakeServer(self, lambda q: q.reply(dnsnet.record("test", "NS", "ns.test"), flags=0x8000, counts=(1, 0, 1, 0)))
        for first in (
            lame, FakeServer(self, dnsnet.silent), FakeServer(self, lambda q: q.reply(rcode=SERVFAIL)),
            FakeServer(self, lambda q: q.reply(rcode=REFUSED)), f"127.0.0.1:{dnsnet.free_port()}",
        ):
            self.assertEqual(self.decide([first, good], dnsbls="a.test"), (DEFER, 0, 1))

    def test_after_a_time_out_the_next_request_asks_again(self):
        awake = []
        server = FakeServer(self, lambda q: self.listed(q) if awake else None)
        handler = self.handler(self.conf([server], dnsbls="a.test, b.test", dns_timeout=5))
        self.assertEqual(handler.ask(**self.request()), "DUNNO")
        awake.append(True)
        self.assertEqual(handler.ask(**self.request()), DEFER)
        handler.finish()
        self.assertEqual(len(self.warnings()), 1)
        self.assertIn("no DNS list answered", self.warnings()[0])

    def test_no_score_beyond_the_threshold(self):
        """However many answer before it is known that no whitelist has the client."""
        late = []

        def rule(q):
            if q.name.endswith("white.test"):
                late.append(q)
                return
            self.listed(q)
            if len(server.queries) == 4:
                late[0].reply(rcode=NXDOMAIN)
        server = FakeServer(self, rule)
        self.assertEqual(self.decide([server], dnswls="white.test", dnsbls="a.test, b.test, c.test"), (DEFER, 0, 1))

    def test_a_resolver_that_is_missing_for_a_moment(self):
        server = FakeServer(self, self.listed)
        program = self.copy_program()
        module = self.path("program/modules/resolver_ldns.so")
        os.rename(module, self.path("away"))
        handler = self.handler(self.conf([server], dnsbls="a.test"), bley=program)
        self.assertEqual(handler.ask(**self.request()), "DUNNO")
        self.wait_for_log("error: .*resolver_ldns.so")
        os.rename(self.path("away"), module)
        self.wait_until(lambda: handler.ask(**self.request()) == DEFER, "the resolver")

    def test_no_name_server(self):
        """Nobody listens: mail goes on at once (the deadline is a minute)."""
        result = self.decide([f"127.0.0.1:{dnsnet.free_port()}"], dnsbls="a.test, b.test", dnswls="c.test")
        self.assertEqual(result, ("DUNNO", 0, 0))
        self.assertEqual(len(self.warnings()), 1)

    def test_no_usable_server(self):
        self.assertEqual(self.decide(["nonsense"], dnsbls="a.test"), ("DUNNO", 0, 0))
        self.assertTrue([line for line in self.log_lines() if "nonsense" in line])

    def test_known_clients_cost_no_dns(self):
        """Neither a query nor the library: it is loaded when first needed."""
        server = FakeServer(self, self.listed)
        handler = self.handler(self.conf([server], dnsbls="a.test"))

        def loaded():
            with open(f"/proc/{handler.process.pid}/maps", encoding="utf-8") as stream:
                return "libldns" in stream.read()
        self.assertEqual(handler.ask(**self.request(recipient="postmaster@example.org")), "DUNNO")
        self.assertFalse(loaded())
        self.assertEqual(server.queries, [])
        request = self.request()
        self.assertEqual(handler.ask(**request), DEFER)
        self.assertTrue(loaded())
        self.assertEqual(handler.ask(**request), DEFER)
        self.assertEqual(len(server.queries), 1)

    def test_a_waiting_connection_holds_no_sockets(self):
        """Even where a question was left unanswered because it no longer mattered."""
        server = FakeServer(self, lambda q: None if "silent" in q.name else self.listed(q))
        handler = self.handler(self.conf([server], dnsbls="silent.test, a.test"))

        def sockets():
            folder = f"/proc/{handler.process.pid}/fd"
            links = [os.readlink(os.path.join(folder, fd)) for fd in ("0", "1")]
            for fd in os.listdir(folder):
                try:
                    link = os.readlink(os.path.join(folder, fd))
                except FileNotFoundError:
                    continue
                if link.startswith("socket:") and link not in links:
                    yield link
        for _ in range(2):
            self.assertEqual(handler.ask(**self.request()), DEFER)
            self.wait_until(lambda: not list(sockets()), "the end of the DNS sockets")
