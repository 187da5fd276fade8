# SPDX-License-Identifier: BSD-3-Clause
"""The resolver against real name servers, and against servers that lie, fail and stay silent.

tests/dns/ask.c asks through the module and prints what it got.
"""

import os
import queue
import shlex
import struct
import subprocess
import threading

import bleytest
import dnsnet
from dnsnet import FORMERR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, FakeServer

ASK = os.path.join(bleytest.BUILD, "tests", "dns", "ask")
MODULE = os.path.join(bleytest.BUILD, "modules", "resolver_ldns.so")

SHORT = 4000  # milliseconds, where the deadline is what is tested
LONG = 60000  # where it must not matter


class Answers:
    """What ask printed: `lines` in the order of answers, by question, and the number of packets sent."""

    def __init__(self, text):
        *self.lines, last = [line for line in text.splitlines() if line]
        self.sent = int(last.split()[1])
        self.order = []
        self._by_question = {}
        for line in self.lines:
            name, kind, rest = line.split(" ", 2)
            status, *records = shlex.split(rest)
            self.order.append(name)
            self._by_question.setdefault((name, kind), []).append((status, records))

    def all(self, name, kind="A"):
        return self._by_question[name, kind]

    def status(self, name, kind="A"):
        return self._by_question[name, kind][0][0]

    def records(self, name, kind="A"):
        return self._by_question[name, kind][0][1]


class ResolverCase(bleytest.TestCase):
    def ask(self, *questions, servers=(), timeout=LONG, wrapper=()):
        """Asks all `TYPE NAME` or `NAME` at once."""
        command = [*wrapper, *self.command(questions, servers, timeout)]
        result = self.run_program(command, timeout=200)
        self.assertEqual(result.stderr, "")
        self.assertEqual(result.returncode, 0)
        return Answers(result.stdout)

    def command(self, questions, servers, timeout, *more):
        command = [ASK, MODULE, "-t", str(timeout), *more]
        for server in servers:
            command += ["-s", getattr(server, "address", server)]
        for question in questions:
            command += question.split(" ") if " " in question else ["A", question]
        return command

    def fake(self, rule, **options):
        return FakeServer(self, rule, **options)

    def nowhere(self):
        """An address where nobody listens."""
        return f"127.0.0.1:{dnsnet.free_port()}"


ZONE = """
one.test. A 192.0.2.1
three.test. A 192.0.2.1
three.test. A 192.0.2.2
three.test. A 192.0.2.3
six.test. AAAA 2001:db8::1
mail.test. MX 10 MX1.mail.test.
mail.test. MX 20 mx2.mail.test.
null.test. MX 0 .
text.test. TXT "v=spf1 " "-all"
bytes.test. TXT "a\\000b\\200"
ptr.test. PTR host.test.
1.2.0.192.in-addr.arpa. PTR one.test.
alias.test. CNAME alias2.test.
alias2.test. CNAME one.test.
nowhere.test. CNAME missing.test.
loop1.test. CNAME loop2.test.
loop2.test. CNAME loop1.test.
*.wild.test. A 127.0.0.2
below.empty.test. A 192.0.2.1
""" + "".join(f'big.test. TXT "{i:03} {"x" * 250}"\n' for i in range(40)) + "".join(
    f"many.test. A 198.51.{i // 250}.{i % 250}\n" for i in range(700))


class RealServers(ResolverCase):
    def setUp(self):
        super().setUp()
        self.servers = dnsnet.NameServers(self, ZONE)

    def test_answers(self):
        a = self.ask(
            "one.test", "three.test", "AAAA six.test", "MX mail.test", "MX null.test", "TXT text.test", "TXT bytes.test",
            "PTR ptr.test", "PTR 1.2.0.192.in-addr.arpa", "alias.test", "any.wild.test", "TXT big.test", "ONE.Test.",
            servers=[self.servers],
        )
        self.assertEqual(a.records("one.test"), ["192.0.2.1"])
        self.assertEqual(sorted(a.records("three.test")), ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
        self.assertEqual(a.records("six.test", "AAAA"), ["2001:db8::1"])
        self.assertEqual(sorted(a.records("mail.test", "MX")), ["10 mx1.mail.test", "20 mx2.mail.test"])
        self.assertEqual(a.records("null.test", "MX"), ["0 "])
        self.assertEqual(a.records("text.test", "TXT"), ["v=spf1 -all"])
        self.assertEqual(a.records("bytes.test", "TXT"), ["a\\000b\\200"])
        self.assertEqual(a.records("ptr.test", "PTR"), ["host.test"])
        self.assertEqual(a.records("1.2.0.192.in-addr.arpa", "PTR"), ["one.test"])
        self.assertEqual(a.records("alias.test"), ["192.0.2.1"])
        self.assertEqual(a.records("any.wild.test"), ["127.0.0.2"])
        self.assertEqual(a.records("ONE.Test."), ["192.0.2.1"])
        # 10 kB do not fit into UDP
        self.assertEqual(sorted(r[:3] for r in a.records("big.test", "TXT")), [f"{i:03}" for i in range(40)])

    def test_no_such_thing(self):
        a = self.ask(
            "missing.test", "AAAA one.test", "empty.test", "nowhere.test", "loop1.test", "x.refuse.test", "x.servfail.test",
            servers=[self.servers],
        )
        self.assertEqual(a.status("missing.test"), "NXDOMAIN")
        self.assertEqual(a.status("one.test", "AAAA"), "NODATA")
        self.assertEqual(a.status("empty.test"), "NODATA")
        self.assertEqual(a.status("nowhere.test"), "NXDOMAIN")
        self.assertEqual(a.status("loop1.test"), "SERVFAIL")
        self.assertEqual(a.status("x.refuse.test"), "REFUSED")
        self.assertEqual(a.status("x.servfail.test"), "SERVFAIL")

    def test_silence_does_not_hold_up_others(self):
        a = self.ask("x.drop.test", "one.test", "missing.test", servers=[self.servers], timeout=SHORT)
        self.assertEqual(a.status("x.drop.test"), "TIMEOUT")
        self.assertEqual(a.status("one.test"), "OK")
        self.assertEqual(a.status("missing.test"), "NXDOMAIN")
        self.assertEqual(a.order[-1], "x.drop.test")

    def test_records_kept_of_one_answer_are_bounded(self):
        a = self.ask("many.test", servers=[self.servers])
        self.assertEqual(a.status("many.test"), "OK")
        self.assertEqual(len(a.records("many.test")), 512)


class Names(ResolverCase):
    """What can be asked at all."""

    def test_names_that_cannot_be_asked(self):
        server = self.fake(lambda q: q.address())
        bad = ["a..b", "." + "x.test", "x" * 64 + ".test", ".".join(["x" * 60] * 5), ".", "a.b..", "\\300.test"]
        a = self.ask(*bad, "good.test", servers=[server])
        for name in bad:
            self.assertEqual(a.status(name), "NXDOMAIN", name)
        self.assertEqual([q.name for q in server.queries], ["good.test"])

    def test_the_longest_names_can(self):
        server = self.fake(lambda q: q.address())
        longest = ".".join(["x" * 63, "x" * 63, "x" * 63, "x" * 61])
        a = self.ask(longest, "x" * 63 + ".test", servers=[server])
        self.assertEqual(a.status(longest), "OK")
        self.assertEqual(a.status("x" * 63 + ".test"), "OK")

    def test_escapes(self):
        server = self.fake(lambda q: q.address())
        self.ask("a\\046b.test", "a\\.c.test", servers=[server])
        self.assertEqual(
            {q.name_wire.lower() for q in server.queries}, {b"\3a.b\4test\0", b"\3a.c\4test\0"})

    def test_asked_twice_goes_out_once(self):
        server = self.fake(lambda q: q.address())
        a = self.ask("x.test", "X.test.", "x.test", "TXT x.test", servers=[server])
        self.assertEqual(a.all("x.test"), [("OK", ["127.0.0.2"])] * 2)
        self.assertEqual(a.records("X.test."), ["127.0.0.2"])
        self.assertEqual(sorted(q.type for q in server.queries), ["A", "TXT"])
        self.assertEqual(a.sent, 2)


class Together(ResolverCase):
    def test_all_are_on_the_way_at_once(self):
        """The server answers nothing before it has everything: one after the other would never end."""
        names = [f"n{i}.test" for i in range(40)]
        waiting = []

        def rule(q):
            waiting.append(q)
            if len({w.name for w in waiting}) == len(names):
                for w in reversed(waiting):
                    w.address()
                waiting.clear()

        server = self.fake(rule)
        a = self.ask(*names, servers=[server])
        self.assertEqual({a.status(name) for name in names}, {"OK"})
        self.assertEqual(len(a.order), len(names))

    def test_in_the_order_of_answers(self):
        names = ["a.test", "b.test", "c.test"]
        waiting = {}

        def rule(q):
            waiting[q.name] = q
            if len(waiting) == len(names):
                for name in ("c.test", "a.test", "b.test"):
                    waiting[name].address()

        a = self.ask(*names, servers=[self.fake(rule)])
        self.assertEqual(a.order, ["c.test", "a.test", "b.test"])


class Randomness(ResolverCase):
    def rounds(self, names, count):
        """Asks the same again in one process. The server's queries, and the sets of its ports for each round."""
        server = self.fake(lambda q: q.address())
        process = subprocess.Popen(
            self.command(names, [server], LONG, "-n", str(count)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(bleytest.stop, process)
        ports, seen = [], 0
        for i in range(count):
            if i > 0:
                process.stdin.write("\n")
                process.stdin.flush()
            self.assertTrue(any(line.startswith("sent") for line in iter(process.stdout.readline, "")), "ask has ended")
            ports.append({q.peer_port for q in server.queries[seen:]})
            seen = len(server.queries)
        return server.queries, ports

    def test_ids_ports_and_case(self):
        names = [f"abcdefghijklmnopqrstuvwxyz{i}.test" for i in range(20)]
        queries, ports = self.rounds(names, 5)
        self.assertEqual(len(queries), 100)
        self.assertGreater(len({q.id for q in queries}), 90)
        for i in range(5):
            self.assertEqual(len({q.id for q in queries[20 * i:20 * (i + 1)]}), 20)
        self.assertGreater(len(set().union(*ports)), 3)
        letters = "".join(c for q in queries for c in q.sent_name if c.isalpha())
        upper = sum(c.isupper() for c in letters)
        self.assertGreater(upper, len(letters) * 0.4)
        self.assertLess(upper, len(letters) * 0.6)
        self.assertGreater(len({q.sent_name for q in queries}), 90)

    def test_what_a_query_says(self):
        server = self.fake(lambda q: q.address())
        self.ask("x.test", servers=[server])
        self.assertEqual(server.queries[0].flags, 0x0100)  # recursion desired
        self.assertEqual(server.queries[0].edns_size, 1232)


class Forgeries(ResolverCase):
    """A wrong answer first, then the right one: only that counts."""

    def expect_right(self, wrong):
        def rule(q):
            wrong(q)
            q.address("192.0.2.1")

        a = self.ask("some.name.test", servers=[self.fake(rule)])
        self.assertEqual(a.records("some.name.test"), ["192.0.2.1"])
        self.assertEqual(a.sent, 1)

    def test_wrong_id(self):
        self.expect_right(lambda q: [q.reply((None, "A", "203.0.113.1"), id=q.id ^ 1 << bit) for bit in range(16)])

    def test_wrong_port(self):
        self.expect_right(lambda q: q.send_from_elsewhere(q.packet([(None, "A", "203.0.113.1")])))

    def test_wrong_name(self):
        question = dnsnet.name_wire("other.name.test") + struct.pack("!HH", 1, 1)
        self.expect_right(lambda q: q.reply(("other.name.test", "A", "203.0.113.1"), question=question))

    def test_wrong_type_or_class(self):
        def wrong(q):
            for kind, klass in ((16, 1), (28, 1), (1, 3), (1, 255)):
                q.reply((None, "A", "203.0.113.1"), question=q.name_wire + struct.pack("!HH", kind, klass))
        self.expect_right(wrong)

    def test_no_question_or_two(self):
        def wrong(q):
            q.reply((q.name, "A", "203.0.113.1"), question=b"")
            q.reply((None, "A", "203.0.113.1"), question=q.question * 2, counts=(2, 1, 0, 0))
            q.reply((None, "A", "203.0.113.1"), counts=(0, 1, 0, 0))
        self.expect_right(wrong)

    def test_no_answer_at_all(self):
        def wrong(q):
            q.send(q.wire)  # the question itself
            q.reply((None, "A", "203.0.113.1"), flags=0x0180)
            q.reply((None, "A", "203.0.113.1"), flags=0x8980 | 0x2000)  # another opcode
        self.expect_right(wrong)

    def test_fragments(self):
        self.expect_right(lambda q: [q.send(q.packet([(None, "A", "203.0.113.1")])[:n]) for n in range(len(q.question) + 12)])

    def test_records_of_other_names_do_not_count(self):
        def rule(q):
            q.reply(
                ("other.test", "A", "203.0.113.1"), ("name.test", "A", "203.0.113.2"), (None, "TXT", "x"),
                (None, "A", "192.0.2.1"), ("z.some.name.test", "A", "203.0.113.3"))
        a = self.ask("some.name.test", servers=[self.fake(rule)])
        self.assertEqual(a.records("some.name.test"), ["192.0.2.1"])

    def test_a_flood_does_not_hold_up_the_deadline(self):
        stop = threading.Event()
        self.addCleanup(stop.set)

        def rule(q):
            def flood():
                while not stop.is_set():
                    try:
                        q.reply((None, "A", "203.0.113.1"), id=q.id ^ 1)
                    except OSError:
                        return
            threading.Thread(target=flood, daemon=True).start()

        a = self.ask("some.name.test", servers=[self.fake(rule)], timeout=SHORT)
        self.assertEqual(a.status("some.name.test"), "TIMEOUT")


class Case(ResolverCase):
    """Servers that do not give back the case of a name's letters."""

    NAME = "abcdefghijklmnopqrstuvwxyz.test"  # one chance in 2^30 that it goes out in lower case

    def test_asked_again_over_tcp(self):
        def rule(q):
            lower = q.question.lower() if not q.tcp else q.question
            q.reply((None, "A", "192.0.2.1" if q.tcp else "203.0.113.1"), question=lower)
        server = self.fake(rule)
        a = self.ask(self.NAME, servers=[server])
        self.assertEqual(a.records(self.NAME), ["192.0.2.1"])
        self.assertEqual([q.tcp for q in server.queries], [False, True])

    def test_over_tcp_any_case_will_do(self):
        server = self.fake(lambda q: q.reply((None, "A", "192.0.2.1"), question=q.question.lower()))
        self.assertEqual(self.ask(self.NAME, servers=[server]).records(self.NAME), ["192.0.2.1"])

    def test_without_tcp_it_does_without(self):
        server = self.fake(lambda q: q.reply((None, "A", "192.0.2.1"), question=q.question.lower()), tcp=False)
        a = self.ask(self.NAME, servers=[server])
        self.assertEqual(a.records(self.NAME), ["192.0.2.1"])
        self.assertEqual(server.queries[-1].sent_name, self.NAME)


class Truncated(ResolverCase):
    def truncating(self, over_tcp):
        def rule(q):
            if not q.tcp:
                q.reply((None, "A", "203.0.113.1"), flags=0x8380)
                return None
            return over_tcp(q)
        return self.fake(rule)

    def test_tcp(self):
        server = self.truncating(lambda q: q.address("192.0.2.1"))
        a = self.ask("x.test", servers=[server])
        self.assertEqual(a.records("x.test"), ["192.0.2.1"])
        self.assertEqual(a.sent, 2)

    def test_in_small_pieces(self):
        def pieces(q):
            packet = q.packet([(None, "A", "192.0.2.1")])
            data = struct.pack("!H", len(packet)) + packet

            def piece(at):
                q.send_raw(data[at:at + 1])
                if at + 1 < len(data):
                    q.later(0.001, lambda: piece(at + 1))
            piece(0)
            return "keep"
        self.assertEqual(self.ask("x.test", servers=[self.truncating(pieces)]).records("x.test"), ["192.0.2.1"])

    def test_64_kib_of_text(self):
        record = dnsnet.record(b"\xc0\x0c", "TXT", "x" * 65000)
        server = self.truncating(lambda q: q.reply(record))
        a = self.ask("TXT x.test", servers=[server])
        self.assertEqual(len(a.records("x.test", "TXT")[0]), 65000)

    def test_closed_early(self):
        def partial(q):
            packet = q.packet([(None, "A", "192.0.2.1")])
            q.send_raw(struct.pack("!H", len(packet)) + packet[:-1])
        for over_tcp in (lambda q: None, partial, lambda q: q.send_raw(b"\0\0"), lambda q: q.send_raw(b"\0")):
            a = self.ask("x.test", servers=[self.truncating(over_tcp)])
            self.assertEqual(a.status("x.test"), "SERVFAIL")

    def test_garbage(self):
        for garbage in (b"", b"x", b"\xff" * 100):
            a = self.ask("x.test", servers=[self.truncating(lambda q, g=garbage: q.send(g))])
            self.assertEqual(a.status("x.test"), "SERVFAIL")

    def test_forged(self):
        question = dnsnet.name_wire("y.test") + b"\0\1\0\1"
        for options in (lambda q: {"id": q.id ^ 1}, lambda q: {"question": question}, lambda q: {"flags": 0x0180}):
            server = self.truncating(lambda q, o=options: q.reply((None, "A", "203.0.113.1"), **o(q)))
            self.assertEqual(self.ask("x.test", servers=[server]).status("x.test"), "SERVFAIL")

    def test_never_answers(self):
        a = self.ask("x.test", servers=[self.truncating(lambda q: "keep")], timeout=SHORT)
        self.assertEqual(a.status("x.test"), "TIMEOUT")

    def test_the_next_server_helps(self):
        for over_tcp in (lambda q: None, lambda q: "keep"):
            other = self.fake(lambda q: q.address("192.0.2.1"))
            a = self.ask("x.test", servers=[self.truncating(over_tcp), other])
            self.assertEqual(a.records("x.test"), ["192.0.2.1"])

    def test_nobody_speaks_tcp(self):
        server = self.fake(lambda q: q.reply(flags=0x8380), tcp=False)
        self.assertEqual(self.ask("x.test", servers=[server]).status("x.test"), "SERVFAIL")

    def test_a_server_that_had_failed_over_udp(self):
        """What comes late from it opens a stream; that fails as well, and is closed without waiting for anything."""
        streams = queue.Queue()

        def failing(q):
            q.reply(rcode=SERVFAIL)
            if q.tcp:
                streams.put(q)
                return "keep"
            return q.reply(flags=0x8380)

        def good(q):
            if len(server.queries) == 1:
                self.assertEqual(streams.get(timeout=bleytest.PATIENCE).wait_closed(), b"")
            q.address("192.0.2.1")
        server = self.fake(good)
        self.assertEqual(self.ask("x.test", servers=[self.fake(failing), server]).records("x.test"), ["192.0.2.1"])

    def test_many_at_once(self):
        names = [f"n{i}.test" for i in range(60)]
        server = self.truncating(lambda q: q.address("192.0.2.1"))
        a = self.ask(*names, servers=[server])
        ok = sum(a.status(name) == "OK" for name in names)
        self.assertGreaterEqual(ok, 32)


class Failing(ResolverCase):
    """One server is of no use, then the next is asked; where none is left, that is told."""

    def good(self):
        return self.fake(lambda q: q.address("192.0.2.1"))

    def expect_next(self, first):
        server = self.good()
        a = self.ask("x.test", servers=[first, server])
        self.assertEqual(a.records("x.test"), ["192.0.2.1"])
        return a

    def test_servfail_refused_and_others(self):
        for code, status in ((SERVFAIL, "SERVFAIL"), (REFUSED, "REFUSED"), (9, "SERVFAIL"), (15, "SERVFAIL")):
            failing = self.fake(lambda q, c=code: q.reply(rcode=c))
            self.assertEqual(self.ask("x.test", servers=[failing]).status("x.test"), status)
            self.assertEqual(self.expect_next(failing).sent, 2)

    def test_lame(self):
        """A referral: no recursion, no authority, nothing in it."""
        lame = self.fake(lambda q: q.reply(dnsnet.record("test", "NS", "ns.test"), flags=0x8000, counts=(1, 0, 1, 0)))
        self.assertEqual(self.ask("x.test", servers=[lame]).status("x.test"), "SERVFAIL")
        self.expect_next(lame)

    def test_authority_without_recursion_is_not_lame(self):
        server = self.fake(lambda q: q.reply(flags=0x8400))
        self.assertEqual(self.ask("x.test", servers=[server]).status("x.test"), "NODATA")

    def test_different_failures_are_servfail(self):
        refused = self.fake(lambda q: q.reply(rcode=REFUSED))
        failing = self.fake(lambda q: q.reply(rcode=SERVFAIL))
        self.assertEqual(self.ask("x.test", servers=[refused, failing]).status("x.test"), "SERVFAIL")
        self.assertEqual(self.ask("x.test", servers=[refused, self.nowhere()]).status("x.test"), "REFUSED")

    def test_nobody_listens(self):
        """Told by ICMP: no time passes (the deadline is a minute)."""
        self.expect_next(self.nowhere())
        a = self.ask("x.test", "y.test", servers=[self.nowhere(), self.nowhere()])
        self.assertEqual(a.status("x.test"), "TIMEOUT")
        self.assertEqual(a.status("y.test"), "TIMEOUT")
        names = [f"{n}.test" for n in range(8)]
        a = self.ask(*names, servers=[self.nowhere()])
        self.assertEqual([a.status(name) for name in names], ["TIMEOUT"] * 8)
        self.assertEqual(a.sent, 8)  # what ICMP says of one keeps none of the others back

    def test_silent(self):
        silent = self.fake(dnsnet.silent)
        self.expect_next(silent)
        self.assertEqual(len(silent.queries), 1)

    def test_unreadable(self):
        self.expect_next(self.fake(lambda q: q.reply(b"\xc0\x0c", counts=(1, 1, 0, 0))))

    def test_nxdomain_is_an_answer(self):
        server = self.good()
        first = self.fake(lambda q: q.reply(rcode=NXDOMAIN))
        self.assertEqual(self.ask("x.test", servers=[first, server]).status("x.test"), "NXDOMAIN")
        self.assertEqual(server.queries, [])

    def test_all_silent(self):
        servers = [self.fake(dnsnet.silent), self.fake(dnsnet.silent)]
        a = self.ask("x.test", servers=servers, timeout=SHORT)
        self.assertEqual(a.status("x.test"), "TIMEOUT")
        for server in servers:
            self.assertIn(len(server.queries), (1, 2))

    def test_failure_beside_silence(self):
        failing = self.fake(lambda q: q.reply(rcode=SERVFAIL))
        a = self.ask("x.test", servers=[self.fake(dnsnet.silent), failing], timeout=SHORT)
        self.assertEqual(a.status("x.test"), "SERVFAIL")


class Patience(ResolverCase):
    def test_retransmission(self):
        def rule(q):
            if len(server.queries) > 1:
                q.address("192.0.2.1")
        server = self.fake(rule)
        a = self.ask("x.test", servers=[server])
        self.assertEqual(a.records("x.test"), ["192.0.2.1"])
        self.assertEqual([q.edns for q in server.queries], [True, False])
        self.assertEqual(len({(q.id, q.sent_name) for q in server.queries}), 1)

    def test_a_late_answer_counts(self):
        """To the first query, after the retransmission has gone out."""
        def rule(q):
            if len(server.queries) == 2:
                server.queries[0].address("192.0.2.1")
        server = self.fake(rule)
        self.assertEqual(self.ask("x.test", servers=[server]).records("x.test"), ["192.0.2.1"])

    def test_a_late_answer_from_another_server_counts(self):
        first = self.fake(dnsnet.silent)
        second = self.fake(lambda q: first.queries[0].address("192.0.2.1"))
        self.assertEqual(self.ask("x.test", servers=[first, second]).records("x.test"), ["192.0.2.1"])

    def test_slow(self):
        server = self.fake(lambda q: q.later(2, q.address) if len(server.queries) == 1 else None)
        self.assertEqual(self.ask("x.test", servers=[server]).status("x.test"), "OK")

    def test_answers_twice(self):
        def rule(q):
            q.address("192.0.2.1")
            q.address("192.0.2.2")
        a = self.ask("x.test", "y.test", servers=[self.fake(rule)])
        self.assertEqual(a.records("x.test"), ["192.0.2.1"])
        self.assertEqual(a.records("y.test"), ["192.0.2.1"])

    def test_nobody_is_dead_for_good(self):
        """Silent for one request, then it answers: the same process asks again and gets it."""
        awake = threading.Event()
        server = self.fake(lambda q: q.address() if awake.is_set() else None)
        process = subprocess.Popen(
            self.command(["x.test"], [server], SHORT, "-n", "2"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(bleytest.stop, process)
        self.assertEqual(process.stdout.readline(), "x.test A TIMEOUT\n")
        process.stdout.readline()
        awake.set()
        process.stdin.write("\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), "x.test A OK 127.0.0.2\n")

    def test_a_server_that_answers_goes_first_for_a_while(self):
        silent, good = self.fake(dnsnet.silent), self.fake(lambda q: q.address())
        process = subprocess.Popen(
            self.command(["x.test"], [silent, good], LONG, "-n", "2"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True)
        self.addCleanup(bleytest.stop, process)
        process.communicate("\n", timeout=bleytest.PATIENCE)
        self.assertEqual((len(silent.queries), len(good.queries)), (1, 2))


class WithoutEdns(ResolverCase):
    def test_old_servers(self):
        for code, question in ((FORMERR, None), (NOTIMP, None), (FORMERR, b""), (NOTIMP, b"")):
            server = self.fake(
                lambda q, c=code, text=question: q.reply(rcode=c, question=text) if q.edns else q.address("192.0.2.1"))
            a = self.ask("x.test", servers=[server])
            self.assertEqual(a.records("x.test"), ["192.0.2.1"])
            self.assertEqual([q.edns for q in server.queries], [True, False])

    def test_without_it_the_same_is_a_failure(self):
        server = self.fake(lambda q: q.reply(rcode=FORMERR))
        a = self.ask("x.test", servers=[server])
        self.assertEqual(a.status("x.test"), "SERVFAIL")
        self.assertEqual(a.sent, 2)


def malformed():
    """Name and packet, as a function of the query, of answers that no honest server gives."""
    def pointer(at):
        return struct.pack("!H", 0xC000 | at)

    def head(owner, kind=1, length=4):
        return owner + struct.pack("!HHIH", kind, 1, 60, length)

    def end(q):
        return 12 + len(q.question)

    return {
        "no record where one is promised": lambda q: q.packet(counts=(1, 1, 0, 0)),
        "65535 records promised": lambda q: q.packet([(None, "A", "192.0.2.1")], counts=(1, 65535, 65535, 65535)),
        "a pointer to itself": lambda q: q.packet([head(pointer(end(q))) + b"\1\2\3\4"]),
        "two pointers in a circle": lambda q: q.packet(
            [head(pointer(end(q) + 2) + pointer(end(q))) + b"\1\2\3\4"]),
        "a pointer behind the end": lambda q: q.packet([head(pointer(0x3FFF)) + b"\1\2\3\4"]),
        "half a pointer": lambda q: q.packet([b"\xc0"]),
        "a label that is too long": lambda q: q.packet([head(b"\x40" + b"x" * 64 + b"\0") + b"\1\2\3\4"]),
        "a name that is too long": lambda q: q.packet([head((b"\x3f" + b"x" * 63) * 5 + b"\0") + b"\1\2\3\4"]),
        "a name without an end": lambda q: q.packet([b"\x3f" + b"x" * 20]),
        "labels and a loop": lambda q: q.packet([head(b"\x01x" + pointer(end(q))) + b"\1\2\3\4"]),
        "an address too short": lambda q: q.packet([head(pointer(12), 1, 3) + b"\1\2\3"]),
        "an address too long": lambda q: q.packet([head(pointer(12), 1, 5) + b"\1\2\3\4\5"]),
        "no address": lambda q: q.packet([head(pointer(12), 1, 0)]),
        "data behind the end": lambda q: q.packet([head(pointer(12), 1, 400) + b"\1\2\3\4"]),
        "the record's head cut off": lambda q: q.packet([head(pointer(12))[:9]]),
        "an alias of nothing": lambda q: q.packet([head(pointer(12), 5, 0)]),
        "an alias with a tail": lambda q: q.packet([head(pointer(12), 5, 5) + b"\1x\0yz"]),
        "an alias in a loop": lambda q: q.packet([head(pointer(12), 5, 2) + pointer(end(q) + 12)]),
        "an alias of itself": lambda q: q.packet([head(pointer(12), 5, 2) + pointer(12)]),
    }


def malformed_text():
    """The same for TXT and MX."""
    def head(kind, length):
        return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, length)

    return {
        "TXT string longer than the record": lambda q: q.packet([head(16, 3) + b"\xffab"]),
        "MX without a name": lambda q: q.packet([head(15, 2) + b"\0\1"]),
        "MX of one byte": lambda q: q.packet([head(15, 1) + b"\0"]),
        "MX with a tail": lambda q: q.packet([head(15, 6) + b"\0\1\1x\0y"]),
    }


class Malformed(ResolverCase):
    """Each over UDP from the first server (the second helps) and over TCP from the only one (a failure)."""

    def check(self, kind, cases):
        good = {"A": "192.0.2.1", "TXT": "good", "MX": "1 good"}[kind]
        for name, packet in cases.items():
            with self.subTest(name):
                bad = self.fake(lambda q, p=packet: q.send(p(q)))
                other = self.fake(lambda q: q.reply((None, kind, good)))
                a = self.ask(f"{kind} x.test", servers=[bad, other])
                self.assertEqual(a.records("x.test", kind), [good])
                a = self.ask(f"{kind} x.test", servers=[bad])
                self.assertEqual(a.status("x.test", kind), "SERVFAIL")

                def over_tcp(q, p=packet):
                    q.reply(flags=0x8380) if not q.tcp else q.send(p(q))
                a = self.ask(f"{kind} x.test", servers=[self.fake(over_tcp)])
                self.assertEqual(a.status("x.test", kind), "SERVFAIL")

    def test_address(self):
        self.check("A", malformed())

    def test_text(self):
        self.check("TXT", {k: v for k, v in malformed_text().items() if "TXT" in k})

    def test_mx(self):
        self.check("MX", {k: v for k, v in malformed_text().items() if "MX" in k})

    def test_harmless_oddities(self):
        """An answer is what the answer section says, whatever stands behind it."""
        cases = {
            "garbage at the end": lambda q: q.packet([(None, "A", "192.0.2.1")]) + b"\xff" * 100,
            "other sections that cannot be read": lambda q: q.packet([(None, "A", "192.0.2.1"), b"\xc0\xff" * 9],
                                                                   counts=(1, 1, 3, 3)),
            "records of unknown types": lambda q: q.packet(
                [b"\xc0\x0c" + struct.pack("!HHIH", 65300, 1, 60, 3) + b"abc", (None, "A", "192.0.2.1")]),
            "records of another class": lambda q: q.packet(
                [b"\xc0\x0c" + struct.pack("!HHIH", 1, 3, 60, 4) + b"\1\2\3\4", (None, "A", "192.0.2.1")]),
        }
        for name, packet in cases.items():
            with self.subTest(name):
                a = self.ask("x.test", servers=[self.fake(lambda q, p=packet: q.send(p(q)))])
                self.assertEqual(a.records("x.test"), ["192.0.2.1"])

    def test_aliases(self):
        def chain(length):
            records = [(f"c{i}.test" if i else None, "CNAME", f"c{i + 1}.test") for i in range(length)]
            return lambda q: q.reply(*reversed(records), (f"c{length}.test", "A", "192.0.2.1"))
        a = self.ask("x.test", servers=[self.fake(chain(8))])
        self.assertEqual(a.records("x.test"), ["192.0.2.1"])
        a = self.ask("x.test", servers=[self.fake(chain(100))])
        self.assertEqual(a.status("x.test"), "SERVFAIL")

    def test_empty_text(self):
        a = self.ask("TXT x.test", servers=[self.fake(lambda q: q.reply((None, "TXT", b"\0"), (None, "TXT", b"\0\1x\0")))])
        self.assertEqual(a.records("x.test", "TXT"), ["", "x"])


class Servers(ResolverCase):
    def test_ipv6(self):
        try:
            server = self.fake(lambda q: q.address(), host="::1")
        except OSError:
            self.skipTest("no IPv6 here")
        self.assertEqual(self.ask("x.test", servers=[server]).status("x.test"), "OK")

    def test_what_is_no_server(self):
        for text in ("", "localhost", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:53x", "[::1", "::1]", "[::1]x",
                     "[::1]:", "1.2.3", "[127.0.0.1", "127.0.0.1 53", "::1%", "x" * 500):
            result = self.run_program(self.command(["x.test"], [text], LONG))
            self.assertEqual(result.returncode, 2, text)
            self.assertIn("no name server can be used", result.stderr)

    def test_one_of_two_can_be_used(self):
        server = self.fake(lambda q: q.address())
        self.assertEqual(self.ask("x.test", servers=["localhost", server]).status("x.test"), "OK")


class ResolvConf(ResolverCase):
    """In a network namespace of its own with a resolv.conf of its own."""

    def setUp(self):
        super().setUp()
        self.namespace = dnsnet.Namespace(self, "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
        self.servers = dnsnet.NameServers(self, ZONE, namespace=self.namespace)

    def test_name_servers_of_the_file(self):
        for text in (
            "nameserver 127.0.0.1\n",
            "# nameserver 127.0.0.9\n; nothing\nsearch example.org\nnameserver\t127.0.0.1 # this one\noptions edns0 timeout:2\n",
            "nameserver 127.0.0.9\nnameserver ::1\nnameserver 127.0.0.1\n",
            "nameserver 127.0.0.1",
            # none: the machine's own
            "",
            "nameserver nonsense\n",
        ):
            self.namespace.resolv_conf(text)
            a = self.ask("one.test", "missing.test", wrapper=self.namespace.command)
            self.assertEqual((a.status("one.test"), a.status("missing.test")), ("OK", "NXDOMAIN"), text)

    def test_no_more_than_three(self):
        self.namespace.resolv_conf("".join(f"nameserver 127.0.0.{n}\n" for n in (7, 8, 9, 1)))
        a = self.ask("one.test", wrapper=self.namespace.command)
        self.assertEqual(a.status("one.test"), "TIMEOUT")

    def test_read_again_when_it_changes(self):
        self.namespace.resolv_conf("nameserver 127.0.0.9\n")
        process = subprocess.Popen(
            [*self.namespace.command, *self.command(["one.test"], [], LONG, "-n", "3")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(bleytest.stop, process)
        self.assertEqual(process.stdout.readline(), "one.test A TIMEOUT\n")
        process.stdout.readline()
        for text, answer in (("nameserver 127.0.0.1\n", "OK 192.0.2.1"), ("nameserver 127.0.0.77\n", "TIMEOUT")):
            self.namespace.resolv_conf(text)
            process.stdin.write("\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), f"one.test A {answer}\n")
            process.stdout.readline()
