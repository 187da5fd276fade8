# SPDX-License-Identifier: BSD-3-Clause
"""bleyctl check names every mistake with file and line; bley lives with each of them."""

import os
import subprocess
import unittest

import bleytest


class Check(bleytest.TestCase):
    def check(self, conf, status):
        result = self.bleyctl("check", conf=conf)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result

    def test_all_well(self):
        result = self.check(self.write_conf(), 0)
        self.assertEqual(result.stderr, "")
        self.assertRegex(result.stdout, r"^configuration: ok.*\nclients: ok.*\nrecipients: ok.*\ndatabase: ok")

    def test_settings(self):
        """Each is told with its line, and mail flows all the same."""
        conf = self.write_conf(greylist_max="5x", static_names="(", reject_mgs="x", failure_action="REJECT")
        with open(conf, encoding="utf-8") as f:
            lines = f.read().splitlines()
        result = self.check(conf, 1)
        self.assertIn("configuration: WRONG", result.stdout)
        self.assertIn("database: ok", result.stdout)
        for key in ("greylist_max", "static_names", "reject_mgs", "failure_action"):
            line = 1 + next(i for i, text in enumerate(lines) if text.startswith(key))
            self.assertRegex(result.stderr, rf"{conf}:{line}: (there is no setting )?{key}")
        bley = self.handler(conf)
        self.assertEqual(bley.ask(), "DUNNO")
        self.assertTrue(bley.ask_suspicious().startswith("DEFER_IF_PERMIT"))
        self.wait_for_log("greylist_max = 5x")

    def test_no_settings(self):
        for conf in (self.path("missing.conf"), self.tmp):
            with self.subTest(conf):
                result = self.check(conf, 1)
                self.assertIn("configuration: WRONG", result.stdout)
                self.assertIn(f"error: {conf}: cannot read", result.stderr)

    def test_whitelists(self):
        conf = self.write_conf()
        self.write("whitelist_clients", "192.0.2.0/24\n/(/\n")
        self.write("whitelist_recipients", "# none\n/\n")
        result = self.check(conf, 1)
        self.assertIn("clients: WRONG", result.stdout)
        self.assertIn(self.path("whitelist_clients") + ":2: ", result.stderr)
        self.assertIn(self.path("whitelist_recipients") + ":2: ", result.stderr)

    def test_no_whitelists(self):
        conf = self.write_conf()
        os.unlink(self.path("whitelist_clients"))
        result = self.check(conf, 0)
        self.assertIn("clients: ok, 0 entries", result.stdout)
        self.assertIn(self.path("whitelist_clients"), result.stderr)

    def test_database(self):
        conf = self.write_conf(dbpath="/proc/no/such/folder")
        result = self.check(conf, 1)
        self.assertIn("database: WRONG", result.stdout)
        self.assertIn("/proc/no/such/folder", result.stderr)


class Config(bleytest.TestCase):
    def test_secret(self):
        conf = self.write_conf(dbpass="geheim", dbport="x")
        result = self.bleyctl("config", conf=conf)
        self.assertEqual(result.returncode, 1)
        self.assertIn("dbpass = (hidden)\n", result.stdout)
        self.assertNotIn("geheim", result.stdout + result.stderr)

    def test_full_output(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        with open("/dev/full", "w", encoding="ascii") as full:
            result = subprocess.run([bleytest.program("bleyctl"), "config", "--defaults"], stdout=full,
                                    timeout=bleytest.PATIENCE, check=False)
        self.assertEqual(result.returncode, 1)


if __name__ == "__main__":
    unittest.main()
