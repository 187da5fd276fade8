# SPDX-License-Identifier: BSD-3-Clause
"""bleyctl's commands that look into the database and replay decisions."""

import json
import os
import re
import sqlite3
import unittest

import bleytest
import terminal

HOSTILE = ['"quoted"\\@example.com', "\x1b[31mred@example.com", "tab\tnew\nline@example.com", "grün@例え.jp",
           "c1\x9b31m@example.com", "sep\u2028@example.com", "%s%n@example.com", "moc.\u202emoc.elpmaxe@a\u2066", "' OR 1=1 --@example.com"]
IPV6 = "2001:0db8:0000:0000:0000:0000:0000:0001"


class Base(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        self.write_conf()

    def good(self, *args, **options):
        result = self.bleyctl(*args, **options)
        self.assertEqual((result.returncode, result.stderr), (0, ""), args)
        return result.stdout

    def json(self, *args):
        return json.loads(self.good(*args, "--json"))

    def fill(self, rows):
        """Rows of bley_status: ip, status, age in seconds, sender, recipient, fail_count."""
        self.good("init")
        connection = sqlite3.connect(self.database())
        with connection:
            connection.executemany(
                "INSERT INTO bley_status (ip, status, last_action, sender, recipient, fail_count)"
                " VALUES (?1, ?2, strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ?3 || ' seconds'), ?4, ?5, ?6)", rows)
        connection.close()

    def fill_few(self):
        self.fill([("192.0.2.1", 0, 10, "a@example.com", "r@example.org", 0),
                   ("192.0.2.200", 2, 600, "a@example.com", "r@example.org", 2),
                   ("198.51.100.7", 1, 90000, "", "x_y@example.org", 0),
                   (IPV6, 3, 20, "b@example.com", "xzy@example.org", 0)])

    def clients(self, *args):
        return [row["client_address"] for row in self.json("list", *args)]


class Commands(Base):
    def test_nothing_made(self):
        """Without a database, reading commands say so and make none."""
        for args in (["list"], ["show", "192.0.2.1"], ["stats"], ["forget", "--yes", "192.0.2.1"]):
            result = self.bleyctl(*args)
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, r"^bleyctl: .*bley.db: there is no database yet.*\n$")
        result = self.bleyctl("why", "192.0.2.1", "a@b.example", "c@d.example")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, "database +there is none yet")
        self.assertEqual(os.listdir(self.path("db")), [])
        self.assertEqual(self.bleyctl("purge", "--dry-run").returncode, 1)
        self.assertFalse(os.path.exists(self.database()))
        # nor does a database that is not bley's become it
        sqlite3.connect(self.database()).close()
        self.execute("CREATE TABLE other (x)")
        self.assertEqual(self.bleyctl("list").returncode, 1)
        self.assertEqual(self.rows("SELECT name FROM sqlite_master"), [("other",)])

    def test_list(self):
        self.fill_few()
        self.assertEqual(self.clients(), ["192.0.2.1", "192.0.2.200", "198.51.100.7", IPV6])
        self.assertEqual(self.clients("--status", "grey"), ["192.0.2.200", IPV6])
        self.assertEqual(self.clients("--status", "listed"), ["198.51.100.7"])
        self.assertEqual(self.clients("--ip", "192.0.2.128/25"), ["192.0.2.200"])
        self.assertEqual(self.clients("--ip", "192.0.2.1"), ["192.0.2.1"])
        self.assertEqual(self.clients("--ip", "2001:db8::/32"), [IPV6])
        self.assertEqual(self.clients("--sender", "<>"), ["198.51.100.7"])
        self.assertEqual(self.clients("--sender", "?@EXAMPLE.*"), ["192.0.2.1", "192.0.2.200", IPV6])
        self.assertEqual(self.clients("--recipient", "x_y@*"), ["198.51.100.7"])
        self.assertEqual(self.clients("--since", "1m"), ["192.0.2.1", IPV6])
        self.assertEqual(self.clients("--limit", "2"), ["192.0.2.1", IPV6])
        self.assertEqual(self.clients("--status", "clean", "--ip", "198.51.100.0/24"), [])
        lines = self.good("list").splitlines()
        self.assertEqual(len(lines), 5)
        self.assertEqual({line.index("CLIENT") if "CLIENT" in line else re.search(r"(192|198|2001)[.:]", line[30:]).start() + 30
                          for line in lines}, {lines[0].index("CLIENT")})

    def test_show(self):
        self.fill_few()
        self.assertEqual(len(self.json("show", "A+x@example.com")["tuples"]), 2)
        text = self.good("show", "192.0.2.200")
        self.assertRegex(text, r"grey, first seen .*, 2 failures, passes after ")
        self.assertEqual(self.good("show", "203.0.113.1"), "nothing known\n")

    def test_forget(self):
        self.fill_few()
        self.execute("INSERT INTO bley_cache VALUES ('192.0.2.1', 2, '2026-01-01'), ('192.0.2.9', 2, '2026-01-01')")
        count = "3 triplets and 2 cached clients "
        words = ["192.0.2.0/24", "b@example.com"]
        self.assertEqual(self.good("forget", "--dry-run", *words), count + "would be forgotten\n")
        self.assertEqual(len(self.clients()), 4)
        self.assertEqual(self.good("forget", "--yes", *words), count + "forgotten\n")
        self.assertEqual(self.clients(), ["198.51.100.7"])
        self.assertEqual(self.rows("SELECT * FROM bley_cache"), [])
        self.good("forget", "--yes", "<>")
        self.assertEqual(self.clients(), [])

    def test_forget_asks(self):
        """A person sees the count first."""
        self.fill_few()
        for answer, left in (("\n", 4), ("n\n", 4), ("y\n", 2)):
            asked = terminal.Terminal(self, [bleytest.program("bleyctl"), "-c", self.path("bley.conf"), "forget", "192.0.2.0/24"])
            asked.wait_for(rb"^2 triplets and 0 cached clients are known\r\nForget them\? \[y/N\] $")
            self.assertEqual(len(self.clients()), 4)
            asked.type(answer)
            self.assertEqual(asked.wait_end(), 0)
            self.assertEqual(len(self.clients()), left)

    def test_allow(self):
        bley = self.handler()
        self.assertTrue(bley.ask_suspicious().startswith("DEFER"))
        self.good("allow", "203.0.113.7", "<spammer+x@example.net>", "Recipient@example.org")
        self.assertEqual(bley.ask_suspicious(), "DUNNO")
        self.assertEqual(self.rows("SELECT status, sender FROM bley_status"), [(0, "spammer@example.net")])

    def test_hostile(self):
        """What others have put into the database reaches no terminal, and JSON as it is."""
        self.fill([("192.0.2.1", 0, 10, sender, "r@example.org", 0) for sender in HOSTILE])
        self.execute("INSERT INTO bley_log SELECT last_action, ip, sender, recipient, sender, 0, 0, 0, 0, -1, 0, 0, 0, 0"
                     " FROM bley_status")
        self.execute("INSERT INTO bley_status VALUES ('192.0.2.2', 0, 'no time', CAST(x'ff41' AS text), 'r', 0)")
        for args in (["list"], ["show", "r@example.org"], ["stats", "--since", "1h"], ["stats", "--prometheus"],
                     ["list", "--json"], ["show", "--json", "r@example.org"], ["stats", "--json"]):
            text = self.good(*args)
            self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", args)
            if "--json" not in args:
                self.assertNotRegex(text, "[\u200e\u200f\u202a-\u202e\u2066-\u2069]", args)
        self.assertEqual(len(self.good("list").splitlines()), 2 + len(HOSTILE))
        self.assertEqual(sorted(row["sender"] for row in self.json("list")), sorted([*HOSTILE, "\ufffdA"]))
        self.assertEqual({row["action"] for row in self.json("stats")["by_action_and_reason"]}, set(HOSTILE))
        self.assertEqual(self.clients("--sender", "' OR 1=1 --@example.com"), ["192.0.2.1"])

    def test_many(self):
        self.fill([(f"10.0.{i >> 8}.{i & 255}", i % 3, i, f"s{i}@example.com", "r@example.org", 0) for i in range(20000)])
        self.assertEqual(len(self.json("list")), 20000)
        self.assertEqual(len(self.good("list").splitlines()), 20001)
        self.assertEqual(len(self.json("list", "--limit", "7")), 7)


class Stats(Base):
    def log(self, rows):
        """Rows of bley_log: age in minutes, client, action, and scores by name."""
        self.good("init")
        for age, ip, action, scores in rows:
            scores = {"db": -1, **scores}
            self.execute(f"INSERT INTO bley_log VALUES (strftime('%Y-%m-%d %H:%M:%f', 'now', '-{age} minutes'), ?, 's@e', 'r@e',"
                         " ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                         [ip, action, *(scores.get(name, 0) for name in
                                        ("dnswl", "dnsbl", "helo", "dyn", "db", "spf", "s_eq_r", "postmaster", "cache"))])

    def setUp(self):
        super().setUp()
        self.write_conf(dnsbl_threshold=2, dnswl_threshold=1, dnsbls="", dnswls="")
        self.log([(5000, "192.0.2.99", "DUNNO", {}), (100, "192.0.2.1", "DEFER_IF_PERMIT", {"helo": 2}),
                  (90, "192.0.2.1", "DEFER_IF_PERMIT", {"db": 2}), (60, "192.0.2.1", "PREPEND", {"db": 2}),
                  (50, "192.0.2.1", "DUNNO", {"db": 0}), (40, "192.0.2.2", "DEFER_IF_PERMIT", {"dnsbl": 2}),
                  (30, "192.0.2.3", "DUNNO", {"dnswl": 1}), (30, "192.0.2.4", "DUNNO", {"postmaster": 1}),
                  (30, "192.0.2.5", "DUNNO", {"cache": 1}), (30, "192.0.2.6", "DUNNO", {"dnsbl": 1, "helo": 1})])

    def test_stats(self):
        stats = self.json("stats")
        self.assertEqual({(row["action"], row["reason"]): row["count"] for row in stats["by_action_and_reason"]}, {
            ("DEFER_IF_PERMIT", "checks"): 1, ("DEFER_IF_PERMIT", "too_early"): 1, ("DEFER_IF_PERMIT", "dnsbl"): 1,
            ("PREPEND", "waited"): 1, ("DUNNO", "known"): 1, ("DUNNO", "dnswl"): 1, ("DUNNO", "whitelist"): 1,
            ("DUNNO", "cache"): 1, ("DUNNO", "unsuspected"): 1})
        self.assertEqual((stats["decisions"], stats["accepted"], stats["accepted_after_wait"]), (9, 6, 1))
        self.assertEqual((stats["greylisted_returned"], stats["greylisted_not_returned"]), (1, 1))
        self.assertAlmostEqual(stats["wait_median_seconds"], 2400, delta=5)
        self.assertEqual(stats["clients"][0], {"client_address": "192.0.2.1", "decisions": 4, "deferred": 2})
        self.assertEqual(self.json("stats", "--since", "5d")["decisions"], 10)
        self.assertEqual(self.json("stats", "--since", "35m")["decisions"], 4)

    def with_promtool(self):
        """Prometheus' own tool has nothing to say, whatever is in the log, or nothing."""
        promtool = bleytest.find_program("promtool")
        outputs = [self.good("stats", "--prometheus", "--since", since) for since in ("1s", "10d")]
        self.log([(1, "192.0.2.7", action, {}) for action in [*HOSTILE, "\x01", "\x02", "", "a\\", 'b"} 1']])
        for text in [*outputs, self.good("stats", "--prometheus")]:
            result = self.run_program([promtool, "check", "metrics"], stdin=None, input=text)
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""), text)

    # Its package is too large to be asked for: a further test where it is there, none where it is not.
    if bleytest.find_program("promtool"):
        test_promtool = with_promtool

    def test_prometheus(self):
        lines = self.good("stats", "--prometheus").splitlines()
        self.assertIn('bley_decisions{action="DUNNO",reason="known"} 1', lines)
        name = ""
        for line in lines:
            if line.startswith("#"):
                match = re.fullmatch(r"# (?:HELP (\w+) .+\.|TYPE (\w+) (?:gauge|summary))", line)
                self.assertTrue(match, line)
                name = match[1] or match[2]
            else:
                self.assertRegex(line, rf'^{name}(_sum|_count)?(\{{(\w+="[^"]*",?)+\}})? [0-9.]+$')
        self.assertEqual(len(lines), len(set(lines)))
        self.log([(1, "192.0.2.7", action, {}) for action in ("\x01", "\x02", "x")])
        lines = self.good("stats", "--prometheus").splitlines()
        self.assertEqual([line for line in lines if "\ufffd" in line], ['bley_decisions{action="\ufffd",reason="unsuspected"} 2'])


class Replay(Base):
    """why and test, which change nothing. That they agree with the handler is seen in test_agreement.py."""

    def setUp(self):
        super().setUp()
        self.write("whitelist_clients", "192.0.2.0/28\n/\\.static\\./\n")
        self.write_conf(cache_valid="10m", greylist_period="30m", greylist_penalty="10m")

    def test_write(self):
        wire = bleytest.suspicious() + bleytest.request()
        text = self.good("test", "--write", self.write("requests", wire))
        self.assertEqual(text.count("action="), 2)
        self.assertEqual(len(self.rows("SELECT * FROM bley_status")), 1)  # the other is whitelisted
        self.assertEqual(len(self.rows("SELECT * FROM bley_log")), 2)

    def test_yesterday(self):
        """What the manual says makes of a log the requests that it came from."""
        requests = [{}, bleytest.SUSPICIOUS, {**bleytest.SUSPICIOUS, "sender": "", "client_address": "203.0.113.8", "helo_name": "two words"},
                    {**bleytest.SUSPICIOUS, "client_address": "2001:db8::1", "sender": "a=b c@example.net"}]
        self.write_conf(log_file=self.path("mail.log"), cache_valid=0)
        self.good("test", "--write", self.write("requests", b"".join(bleytest.request(**one) for one in requests)))
        columns = "ip, sender, recipient, action, check_db, check_helo"
        before = self.rows(f"SELECT {columns} FROM bley_log ORDER BY ip")
        self.assertEqual(len(before), 4)
        with open(f"{bleytest.SRC}/man/bleyctl.8", encoding="utf-8") as stream:
            recipe = stream.read().split(".It Nm bleyctl Cm test")[1].split(".Bd -literal -offset indent\n$ ")[1].split(".Ed")[0]
        recipe = recipe.replace("\\e", "\\").replace("/var/log/mail.log", self.path("mail.log"))
        recipe = recipe.replace("bleyctl -c new.conf test", f"cat >{self.path('again')}")
        self.assertEqual(self.run_program(["sh", "-c", recipe]).returncode, 0)
        self.execute("DELETE FROM bley_log")
        self.execute("DELETE FROM bley_status")
        self.good("test", "--write", self.path("again"))
        self.assertEqual(self.rows(f"SELECT {columns} FROM bley_log ORDER BY ip"), before)

    def test_why(self):
        self.fill([("203.0.113.7", 2, 60, "a@example.net", "b@example.org", 1)])
        why = self.json("why", "::ffff:203.0.113.7", "A+tag@example.net", "<b@example.org>", "--helo", "friend.")
        self.assertEqual((why["client_address"], why["sender"], why["helo_name"]), ("203.0.113.7", "a@example.net", "friend"))
        self.assertEqual((why["database"]["status"], why["database"]["failures"]), ("grey", 1))
        self.assertAlmostEqual(why["database"]["seconds_left"], 40 * 60 - 60, delta=20)
        white = self.json("why", "192.0.2.3", "", "x@example.org")
        self.assertEqual(white["whitelist"], {"entry": "192.0.2.0/28", "file": self.path("whitelist_clients"), "line": 1})
        new = self.json("why", "203.0.113.8", "a@example.net", "a@example.net", "--name", "x.dsl.example.net", "--helo", "y")
        self.assertEqual({name: check and check["score"] for name, check in new["checks"].items()},
                         {"dnswl": None, "dnsbl": None, "helo": 2, "dyn": 1, "s_eq_r": 1, "spf": None})
        self.assertEqual((new["rfc_sum"], new["rfc_threshold"]), (4, 2))


if __name__ == "__main__":
    unittest.main()
