# SPDX-License-Identifier: BSD-3-Clause
"""bleyctl import: databases in postgrey's format, made by Berkeley DB itself."""

import os
import subprocess
import unittest

import bleytest

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
        for args in (["sqlgrey", "x"], ["postgrey"], ["--delay", "x", "postgrey", "x"]):
            result = self.bleyctl("import", *args)
            self.assertEqual((result.returncode, result.stdout), (2, ""), args)


if __name__ == "__main__":
    unittest.main()
