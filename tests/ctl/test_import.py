# SPDX-License-Identifier: BSD-3-Clause
"""bleyctl import: databases in postgrey's format, made by Berkeley DB itself, sqlgrey's own, and gld's own tables."""

import glob
import os
import re
import sqlite3
import subprocess
import unittest

import bleytest
import servers

SENDER, RECIPIENT = "spammer@example.net", "recipient@example.org"
WAITED, WAITS = "1700000000,1700000300", "1700000000,1700000299"
TRIPLETS = {
    f"203.0.113.0/{SENDER}/{RECIPIENT}": WAITED,
    "192.0.2.9/32/a/b@example.com/c/d@example.org": WAITED,
    "192.0.2.0//r@example.org": WAITED,
    "2001:db8:0:0:0:0:0:0/back\\slash@example.com/r@example.org": WAITED,
    "203.0.113.0/early@example.net/r@example.org": WAITS,
    "198.51.100.0/a@example.com/r@example.org": WAITED,
    "203.0.113.0/list-#@example.com/r@example.org": WAITED,
    "nonsense": WAITED,
    "203.0.113.0/no-time@example.com/r@example.org": "1700000000",
}
CLIENTS = {"203.0.113.7": "1,1700000300", "192.0.2.1": "9,1700000300", "192.0.2.2": "1,1700000300",
           "2001:DB8:0:0:0:0:0:1": "1,1700000300"}
LEFT_OUT = "left out: 1 that have not waited, 1 of networks without a known client, 1 with an abbreviated sender, 2 unreadable\n"
IMPORTED = [
    ("192.0.2.1", "", "r@example.org"),
    ("192.0.2.2", "", "r@example.org"),
    ("192.0.2.9", "a/b@example.com", "c/d@example.org"),
    ("2001:0db8:0000:0000:0000:0000:0000:0001", "back\\slash@example.com", "r@example.org"),
    ("203.0.113.7", SENDER, RECIPIENT),
]


class Import(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        self.write_conf()

    def load(self, name, records):
        program = self.need("db_load")
        self.need("db_dump")
        os.makedirs(self.path("postgrey"), exist_ok=True)
        text = "".join(f"{part}\n".replace("\\", "\\\\") for record in records.items() for part in record)
        subprocess.run([program, "-T", "-t", "btree", self.path("postgrey", name)], input=text.encode(), check=True, timeout=60)

    def run_import(self, *options, **more):
        return self.bleyctl("import", *options, "postgrey", self.path("postgrey"), **more)

    def good(self, *options):
        result = self.run_import(*options)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def tuples(self):
        return self.rows("SELECT ip, sender, recipient FROM bley_status WHERE status = 0 ORDER BY 1, 2")

    def test_postgrey(self):
        self.load("postgrey.db", TRIPLETS)
        self.load("postgrey_clients.db", CLIENTS)
        bley = self.handler()
        self.assertTrue(bley.ask_suspicious().startswith("DEFER"))
        self.assertEqual(self.good("--dry-run"), "5 triplets would be imported, 0 were known already\n" + LEFT_OUT)
        self.assertEqual(self.tuples(), [])
        self.assertEqual(self.good(), "5 triplets imported, 0 were known already\n" + LEFT_OUT)
        self.assertEqual(self.tuples(), IMPORTED)
        self.execute("DELETE FROM bley_cache")
        self.assertEqual(bley.ask_suspicious(), "DUNNO")
        before = self.rows("SELECT * FROM bley_status ORDER BY ip")
        self.assertEqual(self.good(), "0 triplets imported, 5 were known already\n" + LEFT_OUT)
        self.assertEqual(self.rows("SELECT * FROM bley_status ORDER BY ip"), before)
        self.assertIn("1 triplets imported, 5 were known already\n", self.good("--delay", "299"))

    def test_privacy(self):
        self.load("postgrey.db", {"da39a3ee5e6b4b0d3255bfef95601890afd80709": WAITED})
        self.load("postgrey_clients.db", {})
        result = self.run_import()
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertRegex(result.stderr, r"^bleyctl: import: postgrey ran with --privacy.*\n$")

    def test_wrong(self):
        self.need("db_dump")
        result = self.run_import()
        self.assertEqual(result.returncode, 1)
        self.assertIn("postgrey.db cannot be read", result.stderr)
        result = self.run_import(env={"PATH": self.path("db")})
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("install the package db-util", result.stderr)
        for args in (["other", "x"], ["postgrey"], ["--delay", "x", "postgrey", "x"], ["--query", "postgrey", "x"],
                     ["--whitelist", "x", "postgrey", "x"], ["sqlgrey", "x", "y"], []):
            result = self.bleyctl("import", *args)
            self.assertEqual((result.returncode, result.stdout), (2, ""), args)


class FromSql(bleytest.TestCase):
    """From rows that an SQL client prints."""

    started = {}

    def setUp(self):
        super().setUp()
        self.write_conf()
        self.bleyctl("init")

    def query(self, source):
        result = self.bleyctl("import", "--query", source)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertRegex(result.stdout, r"\A[^\n]+\n\Z")
        return result.stdout

    def imports(self, rows, *args):
        """What it prints; each line of the rows counts once."""
        result = self.bleyctl("import", *args, self.write("rows", rows))
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        counts = sum(int(number) for number in re.findall(r"\d+ (?:[a-z]+ )?(?=triplets|clients|that|unreadable|were)", result.stdout))
        self.assertEqual(counts, len(rows.splitlines()), result.stdout)
        return result.stdout

    def engines(self):
        """MariaDB and PostgreSQL, for all tests here."""
        if not servers.PostgreSQL.programs():
            self.need("initdb")
        self.need("mariadbd", "mariadb-install-db")
        for make in (servers.MariaDB, servers.PostgreSQL):
            if make not in self.started:
                self.started[make] = make()
                self.addClassCleanup(self.started[make].remove)
        return self.started.values()

    def everywhere(self, source, tables, insert):
        """The rows of the source's query, as the clients of PostgreSQL and MariaDB print them, sorted."""
        query, rows = self.query(source), []
        for server in self.engines():
            name = server.database()
            if isinstance(server, servers.PostgreSQL):
                tables = re.sub(r" ENGINE=.*?;", ";", tables).replace("int(11)", "bigint")
            server.sql(f"{tables};{insert}", name)
            rows.append(sorted(server.sql(query, name).splitlines()))
        # PostgreSQL pads
        self.assertEqual([[part.rstrip() for part in line.split("\t")] for line in rows[1]],
                         [line.split("\t") for line in rows[0]])
        return rows[1]

    def learn(self, port, clients):
        """Each comes twice, the second time until it is let through."""
        asks = bleytest.PolicyClient(("127.0.0.1", port))
        self.addCleanup(asks.close)
        for client in clients:
            self.assertTrue(asks.ask(**client).startswith("defer"))
            self.wait_until(lambda client=client: asks.ask(**client).startswith("PREPEND"), "sqlgrey lets it through")
        return asks

    def start_sqlgrey(self):
        program, port = self.need("sqlgrey"), bleytest.free_port()
        root = bleytest.root_of(program) or ""
        env = {**os.environ, "PERL5LIB": ":".join(glob.glob(root + "/usr/share/perl5") + glob.glob(root + "/usr/lib/*/perl5/*"))}
        probe = self.run_program([self.need("perl"), "-MDBD::SQLite", "-MNet::Server::Multiplex", "-MDate::Calc", "-e", "1"], env=env)
        if probe.returncode:
            self.skipTest("sqlgrey lacks Perl modules")
        conf = self.write("sqlgrey.conf", f"""conf_dir = {root}/etc/sqlgrey
user = {os.geteuid()}
group = {os.getegid()}
inet = 127.0.0.1:{port}
db_type = SQLite
db_name = {self.path('sqlgrey.db')}
reconnect_delay = 0
""")
        process = self.start([program, "-f", conf], log="sqlgrey.log", env=env)
        self.wait_for_port(port, process=process)
        return port

    def test_sqlgrey(self):
        suspicious = {**bleytest.SUSPICIOUS, "recipient": "r@example.org"}
        clients = [suspicious, {**suspicious, "client_address": "192.0.2.9", "client_name": "mail.example.com", "sender": "a@example.com"},
                   {**suspicious, "client_address": "192.0.2.10", "client_name": "mail.example.com", "sender": "b@example.com"},
                   {**suspicious, "client_address": "198.51.100.3", "sender": ""},
                   {**suspicious, "client_address": "2001:db8::211:22ff:fe33:4455", "client_name": "mail.example.com"}]
        waits = {**suspicious, "client_address": "203.0.113.8"}
        asks = self.learn(self.start_sqlgrey(), clients)
        self.assertTrue(asks.ask(**waits).startswith("defer"))
        connection = sqlite3.connect(self.path("sqlgrey.db"))
        tables = ";\n".join(row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql LIKE '%awl (%' OR name = 'connect'"))
        rows = ["|".join(row) for row in connection.execute(self.query("sqlgrey"))]
        connection.close()
        text = "\n".join(rows) + "\n"
        listed = self.path("whitelist_clients")
        before = os.path.getsize(listed)
        self.assertIn("4 clients without recipients left out: --whitelist", self.imports(text, "--dry-run", "sqlgrey"))
        self.assertIn(f"4 clients without recipients for {listed}\nleft out: 1 that have not waited, 0 unreadable\n",
                      self.imports(text, "--dry-run", "--whitelist", listed, "sqlgrey"))
        self.assertEqual(os.path.getsize(listed), before)
        self.assertEqual(self.handler().ask(**clients[0])[:5], "DEFER")
        self.imports(text, "--whitelist", listed, "sqlgrey")
        self.execute("DELETE FROM bley_cache")
        bley = self.handler()
        for client in clients:
            for recipient in ("r@example.org", "someone-else@example.org"):
                self.assertEqual(bley.ask(**{**client, "recipient": recipient}), "DUNNO", client)
        self.assertEqual(bley.ask(**waits)[:5], "DEFER")
        self.assertEqual(self.bleyctl("check").returncode, 0)
        # the other engines take the same query
        insert = """INSERT INTO from_awl VALUES ('a', 'b', '192.0.2', '2026-01-01', '2026-01-01'), ('b', 'b', '192.0.2', '2026-01-01',
            '2026-01-01'); INSERT INTO domain_awl VALUES ('b', '192.0.2', '2026-01-01', '2026-01-01');
            INSERT INTO connect VALUES ('a', 'b', '192.0.2.1', 'r@example.org', '2026-01-01')"""
        self.assertEqual(self.everywhere("sqlgrey", tables, insert),
                         ["client\t192.0.2\t\t", "waits\t192.0.2.1\t\tr@example.org"])

    def test_gld(self):
        root = bleytest.root_of(self.need("gld")) or ""
        insert = f"""INSERT INTO greylist VALUES ('203.0.113.7', '{SENDER}', '{RECIPIENT}', 1700000000, 1700000300, 2),
            ('203.0.113.7', '', 'B|C@example.org', 1700000000, 1700000300, 9), ('2001:db8::1', 'a@b', 'c@d', 1, 2, 3),
            ('203.0.113.8', '{SENDER}', '{RECIPIENT}', 1700000000, 1700000000, 1), ('192.0.2.0', 'a@b', 'c@d', 1, 2, 2),
            ('192.0.2.0', 'b@b', 'c@d', 1, 2, 2), ('198.51.100.0', 'b@b', 'c@d', 1, 1, 1), ('rubbish', 'a@b', 'c@d', 1, 2, 2);
            INSERT INTO whitelist VALUES ('64.12.137', 'AOL'), ('12.5.136.141', 'Southwest'), ('@example.com', 'a sender')"""
        with open(f"{root}/usr/share/gld/tables.mysql", encoding="utf-8") as stream:
            rows = self.everywhere("gld", stream.read(), insert)
        self.assertEqual(len(rows), 9)
        listed = self.path("whitelist_clients")
        text = self.imports("\n".join(rows) + "\n", "--whitelist", listed, "gld")
        self.assertEqual(text, f"3 triplets imported, 0 were known already\n3 clients without recipients are in {listed}\n"
                               "left out: 1 that have not waited, 2 unreadable\n")
        self.assertIn("3 were known already\n", self.imports("\n".join(rows), "gld"))
        bley = self.handler()
        for changes in ({"sender": SENDER}, {"sender": "", "recipient": "b|c@example.org"}, {"client_address": "192.0.2.77"},
                        {"client_address": "64.12.137.1"}, {"client_address": "2001:db8::1", "sender": "a@b", "recipient": "c@d"}):
            self.assertEqual(bley.ask_suspicious(**changes), "DUNNO", changes)
            self.execute("DELETE FROM bley_cache")
        self.assertEqual(bley.ask_suspicious(client_address="203.0.113.8", sender=SENDER)[:5], "DEFER")

    def test_hostile(self):
        lines = ["passed|192.0.2.1|a@b|c@d", "passed\t192.0.2.1\ta|b@b\tc@d", "passed|192.0.2.1|a|b@b|c@d", "", "client|/./||", "passed|192.0.2.1|a@b|",
                 "client|192.0.2.1\t||", "passed", "|||", "x" * 100000, "passed|192.0.2.2|\x1b[31m@b|c@d", "client|::/0 x||"]
        text = self.imports("\n".join(lines), "--whitelist", self.path("list"), "gld")
        self.assertIn("3 triplets imported", text)
        self.assertIn("left out: 0 that have not waited, 9 unreadable", text)
        self.assertEqual(sorted(self.rows("SELECT sender FROM bley_status")), [("a@b",), ("a|b@b",), ("\ufffd[31m@b",)])
        result = self.bleyctl("import", "gld", self.path("none"))
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        result = self.bleyctl("import", "--whitelist", self.path("no", "list"), "gld", self.path("rows"))
        self.assertEqual((result.returncode, result.stdout), (1, ""))


if __name__ == "__main__":
    unittest.main()
