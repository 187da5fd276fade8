# SPDX-License-Identifier: BSD-3-Clause
"""bleyctl check names every mistake with file and line; bley lives with each of them."""

import json
import os
import subprocess
import unittest

import bleytest
import dnsnet


class Check(bleytest.TestCase):
    def check(self, conf, status):
        result = self.bleyctl("check", conf=conf)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result

    def test_all_well(self):
        conf = self.write_conf()
        self.bleyctl("init")
        result = self.check(conf, 0)
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


    def test_looking_makes_nothing(self):
        self.assertIn("database: ok, not made yet\n", self.check_output(self.write_conf()))
        self.assertEqual(os.listdir(self.path("db")), [])
        self.bleyctl("init")
        self.assertIn("database: ok, sqlite3, schema version 1\n", self.check_output(self.path("bley.conf")))

    def check_output(self, conf):
        return self.bleyctl("check", conf=conf).stdout

    def test_nagios(self):
        result = self.bleyctl("check", "--nagios", conf=self.write_conf())
        self.assertRegex(result.stdout, r"^BLEY OK - 5 parts checked\n$")
        result = self.bleyctl("check", "--nagios", conf=self.write_conf(greylist_max="x"))
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout, r"^BLEY WARNING - configuration: .*\n$")
        result = self.bleyctl("check", "--nagios", conf=self.path("none"))
        self.assertEqual(result.returncode, 2)
        self.assertRegex(result.stdout, r"^BLEY CRITICAL - configuration: .*\n$")

    def test_json(self):
        parts = json.loads(self.bleyctl("check", "--json", conf=self.write_conf(static_names="(")).stdout)
        self.assertEqual({part["part"]: part["ok"] for part in parts},
                         {"configuration": False, "clients": True, "recipients": True, "database": True, "sandbox": True})
        self.assertEqual(parts[3]["detail"], "not made yet")
        self.assertEqual(len(json.loads(self.bleyctl("check", "--json", conf=self.path("none")).stdout)), 1)

    def test_lists(self):
        """Real lists in all the ways in which they fail (RFC 5782)."""
        six = "0.0.0.0.0.0.f.7.f.f.f.f" + ".0" * 20
        zone = f"""
2.0.0.127.good.test. A 127.0.0.2
2.0.0.127.both.test. A 127.0.0.2
2.{six[2:]}.both.test. A 127.0.0.2
2.{six[2:]}.six.test. A 127.0.0.2
2.0.0.127.all6.test. A 127.0.0.2
*.f.f.f.f.{six[24:]}.all6.test. A 127.0.0.2
*.all.test. A 127.0.0.2
*.parked.test. A 203.0.113.9
*.public.test. A 127.255.255.254
*.quota.test. A 127.0.0.255
other.empty.test. A 127.0.0.2
2.0.0.127.white.test. A 127.0.10.2
"""
        servers = dnsnet.NameServers(self, zone)
        conf = self.write_conf(dns_servers=servers.address, dnsbl_threshold=1, dnswl_threshold=1, dns_timeout=60,
                               dnswls="white.test, quota.test",
                               dnsbls="good.test, both.test, six.test, all6.test, x.servfail.test, x.refuse.test, all.test, parked.test, public.test, empty.test, good.test=127.0.0.3")
        text = self.check(conf, 1).stdout
        for line in ("whitelist white.test: ok, IPv4 only", "whitelist quota.test: WRONG, refuses (127.0.0.255): over its",
                     "blacklist good.test: ok, IPv4 only", "blacklist both.test: ok, IPv4 and IPv6",
                     "blacklist six.test: ok, IPv6 only",
                     "blacklist all.test: WRONG, lists everything", "blacklist all6.test: WRONG, lists everything",
                     "blacklist x.servfail.test: WRONG, cannot be asked (SERVFAIL)", "blacklist x.refuse.test: WRONG, cannot be asked (REFUSED)", "blacklist parked.test: WRONG, answers 203.0.113.9",
                     "blacklist public.test: WRONG, refuses (127.255.255.254): asked through a public",
                     "blacklist empty.test: WRONG, is empty"):
            self.assertIn(f"DNS {line}", text)
        self.assertEqual(text.count("DNS "), 12)
        why = self.bleyctl("why", "127.0.0.2", "a@b.test", "c@d.test", "--json", conf=conf)
        lists = {one["name"]: one for one in json.loads(why.stdout)["lists"]}
        self.assertEqual((lists["white.test"]["answer"], lists["white.test"]["hit"]), ("127.0.10.2", True))
        self.assertEqual((lists["empty.test"]["answer"], lists["empty.test"]["hit"]), ("not listed", False))

    def test_slow_lists(self):
        """One that never answers, and one that answers when half of the time is over. The others are well."""
        def rule(query):
            answers = [(None, "A", "127.0.0.2")] if query.name.startswith("2.0.0.127.") else []
            if query.name.endswith("slow.test"):
                query.later(5.1, lambda: query.reply(*answers))
            elif query.name.endswith("good.test"):
                query.reply(*answers)
        address = dnsnet.FakeServer(self, rule).address
        conf = self.write_conf(dns_servers=address, dnsbl_threshold=1, dns_timeout=10, dnsbls="good.test, slow.test, dead.test")
        text = self.check(conf, 1).stdout
        self.assertRegex(text, r"DNS blacklist good.test: ok, IPv4 only \(\d+ ms\)")
        self.assertRegex(text, r"DNS blacklist slow.test: WRONG, (takes more than half of dns_timeout|does not answer in time).* take it out if")
        self.assertIn("DNS blacklist dead.test: WRONG, does not answer in time", text)


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
