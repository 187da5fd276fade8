# SPDX-License-Identifier: BSD-3-Clause
"""The same rows in SQLite, PostgreSQL and MariaDB: bleyctl tells the same of them."""

import datetime
import json
import unittest

import bleytest
import servers

IPV6 = "2001:0db8:0000:0000:0000:0000:0000:0001"
HOSTILE = ['"quoted"\\@example.com', "\x1b[31mred@example.com", "grün@例え.jp", "%s_!@example.com", "' or 1=1 --@example.com"]

QUERIES = [
    ["list"], ["list", "--status", "grey"], ["list", "--status", "listed"], ["list", "--status", "clean"],
    ["list", "--ip", "192.0.2.128/25"], ["list", "--ip", "192.0.0.0/14"], ["list", "--ip", "2001:db8::/32"],
    ["list", "--ip", "2001:db8::1"], ["list", "--ip", "0.0.0.0/0"], ["list", "--sender", "<>"], ["list", "--sender", "?@EXAMPLE.*"],
    ["list", "--sender", "%s_!@*"], ["list", "--sender", "' or 1=1 --@example.com"], ["list", "--sender", "*\\@*"],
    ["list", "--recipient", "x_y@*"], ["list", "--since", "1h"], ["list", "--limit", "2"],
    ["list", "--status", "grey", "--ip", "192.0.2.0/24", "--sender", "a@*", "--since", "30d", "--limit", "5"],
    ["show", "a@example.com"], ["show", "192.0.2.0/24"], ["show", "<>"], ["stats"], ["stats", "--since", "5d"],
    ["stats", "--since", "35m"],
]


class Engines(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        if not servers.PostgreSQL.programs():
            self.need("initdb")
        self.need("mariadbd", "mariadb-install-db")
        self.now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None, microsecond=500000)
        self.confs = {"sqlite3": self.write_conf("sqlite.conf", **self.KEYS)}
        self.run_sql = {"sqlite3": self.execute}
        for kind, make in (("pgsql", servers.PostgreSQL), ("mysql", servers.MariaDB)):
            server = make()
            self.addCleanup(server.remove)
            name = server.database()
            self.confs[kind] = self.write_conf(f"{kind}.conf", dbtype=kind, dbhost=server.host, dbname=name, dbport=server.port,
                                               **self.KEYS)
            self.run_sql[kind] = lambda sql, server=server, name=name: server.sql(sql, name)

    KEYS = {"dnsbl_threshold": 2, "dnswl_threshold": 1, "dnsbls": "", "dnswls": ""}

    def time(self, seconds):
        return (self.now - datetime.timedelta(seconds=seconds)).isoformat(" ", "microseconds")

    def insert(self, table, rows):
        """Into all three; text as hexadecimal UTF-8, so that no quoting is in question."""
        def literal(value, kind):
            if not isinstance(value, str):
                return str(value)
            text = value.encode().hex()
            return {"sqlite3": f"CAST(x'{text}' AS text)", "pgsql": f"convert_from('\\x{text}', 'UTF8')",
                    "mysql": f"CONVERT(x'{text}' USING utf8mb4)"}[kind] if value else "''"
        for kind, run in self.run_sql.items():
            for (when, *row) in rows:
                values = ", ".join([f"'{self.time(when)}'", *(literal(value, kind) for value in row)])
                run(f"INSERT INTO {table} VALUES ({values})")

    def output(self, kind, args, status=0):
        result = self.bleyctl(*args, conf=self.confs[kind])
        self.assertEqual((result.returncode, result.stderr), (status, ""), (kind, args))
        return result.stdout

    def same(self, args):
        """What all three print."""
        text = self.output("sqlite3", args)
        value = json.loads(text) if "--json" in args else text
        for kind in ("pgsql", "mysql"):
            got = self.output(kind, args)
            self.assertEqual(json.loads(got) if "--json" in args else got, value, (kind, args))
        return value

    def fill(self):
        status = "bley_status (last_action, ip, status, sender, recipient, fail_count)"
        log = ("bley_log (logtime, ip, sender, recipient, action, check_dnswl, check_dnsbl, check_helo, check_dyn, check_db,"
               " check_spf, check_s_eq_r, check_postmaster, check_cache)")
        self.insert(status, [(10, "192.0.2.1", 0, "a@example.com", "r@example.org", 0),
                             (600, "192.0.2.200", 2, "a@example.com", "r@example.org", 2),
                             (90000, "198.51.100.7", 1, "", "x_y@example.org", 0),
                             (20, IPV6, 3, "b@example.com", "xzy@example.org", 0),
                             *((5000 + i, "203.0.113.9", 0, sender, "h@example.org", 0) for i, sender in enumerate(HOSTILE))])

        def decided(minutes, ip, action, dnswl=0, dnsbl=0, helo=0, db=-1, postmaster=0, cache=0):
            return minutes * 60, ip, "a@example.com", "r@example.org", action, dnswl, dnsbl, helo, 0, db, 0, 0, postmaster, cache
        self.insert(log, [decided(5000, "192.0.2.99", "DUNNO"), decided(100, "192.0.2.1", "DEFER_IF_PERMIT", helo=2),
                          decided(90, "192.0.2.1", "DEFER_IF_PERMIT", db=2), decided(60, "192.0.2.1", "PREPEND", db=2),
                          decided(50, "192.0.2.1", "DUNNO", db=0), decided(40, "192.0.2.2", "DEFER_IF_PERMIT", dnsbl=2),
                          decided(30, "192.0.2.3", "DUNNO", dnswl=1), decided(29, "192.0.2.4", "DUNNO", postmaster=1),
                          decided(28, "192.0.2.5", "DUNNO", cache=1), decided(27, "192.0.2.6", "DUNNO", dnsbl=1, helo=1),
                          decided(26, "192.0.2.7", HOSTILE[1])])
        self.insert("bley_cache (last_action, ip, status)", [(1, "192.0.2.1", 2), (1, "192.0.2.9", 2)])

    def written(self):
        """What writes, or waits for what is written."""
        rows = self.write("rows", "passed|192.0.2.50|i@example.com|r@example.org\nwaits|192.0.2.51|i@example.com|r@example.org\n")
        counts = "0 clients without recipients\nleft out: 1 that have not waited, 0 unreadable\n"
        for args, text in ((["--dry-run"], "1 triplets would be imported, 0 were"), ([], "1 triplets imported, 0 were"),
                           ([], "0 triplets imported, 1 were")):
            self.assertEqual(self.same(["import", *args, "gld", rows]), f"{text} known already\n{counts}")
        requests = self.write("requests", bleytest.suspicious(client_address="192.0.2.60"))
        self.assertIn("DEFER", self.same(["test", requests]))
        watches = {kind: self.start([bleytest.program("bleyctl"), "-c", conf, "watch"], log=f"watched-{kind}")
                   for kind, conf in self.confs.items()}
        for kind, watch in watches.items():
            def seen(kind=kind):
                self.assertIn("DEFER", self.output(kind, ["test", "--write", requests]))
                with open(self.path(f"watched-{kind}"), encoding="utf-8") as stream:
                    return stream.read()
            self.assertRegex(self.wait_until(seen, "a decision"), "  DEFER_IF_PERMIT  192.0.2.60  ")
            self.assertIsNone(watch.poll())
        self.assertRegex(self.same(["purge", "--dry-run"]), "0 .*")

    def test_same(self):
        for kind, conf in self.confs.items():  # nothing is made by looking
            result = self.bleyctl("list", conf=conf)
            self.assertEqual((result.returncode, result.stdout), (1, ""), kind)
            self.assertIn("bleyctl init", result.stderr)
            self.output(kind, ["init"])
        self.fill()
        for args in QUERIES:
            with self.subTest(args):
                self.same([*args, "--json"])
        self.assertEqual(len(self.same(["list", "--json"])), 4 + len(HOSTILE))
        self.assertNotIn("\x1b", self.same(["list"]) + self.same(["stats"]) + self.same(["stats", "--prometheus"]))
        for ip in ("192.0.2.1", "192.0.2.200", "198.51.100.7"):
            why = [json.loads(self.output(kind, ["why", ip, "a@example.com", "r@example.org", "--json"])) for kind in self.confs]
            for one in why:
                (one["database"] or {}).pop("seconds_left", None)
                (one["database"] or {}).pop("last_action", None)
                (one["database"] or {}).pop("passes_after", None)
                one["reason"] = one["reason"].split(",")[0]
            self.assertEqual(why[0], why[1])
            self.assertEqual(why[0], why[2])
        self.written()
        words = ["192.0.2.0/24", "b@example.com", HOSTILE[4]]
        counts = "6 triplets and 3 cached clients "
        self.assertEqual(self.same(["forget", "--dry-run", *words]), counts + "would be forgotten\n")
        self.assertEqual(self.same(["forget", "--yes", *words]), counts + "forgotten\n")
        self.same(["forget", "--yes", "<>"])
        self.same(["allow", "203.0.113.7", "<>", "new@example.org"])
        rows = [[(row["client_address"], row["status"], row["sender"]) for row in json.loads(self.output(kind, ["list", "--json"]))]
                for kind in self.confs]
        self.assertEqual(len(rows[0]), len(HOSTILE))
        self.assertEqual(rows[0], rows[1])
        self.assertEqual(rows[0], rows[2])


if __name__ == "__main__":
    unittest.main()
