# SPDX-License-Identifier: BSD-3-Clause
"""bleyctl why and test tell what the handler then does, for generated requests with everything that can decide."""

import datetime
import ipaddress
import json
import random
import re
import unittest

import bleytest
import dnsnet
import servers

REQUESTS = 250 if bleytest.instrumented() else 500  # each starts a process
FEW = 60  # on each of the other engines

ZONE = """
pass.test. TXT "v=spf1 ip4:203.0.0.0/16 ip6:2001:db8::/32 -all"
fail.test. TXT "v=spf1 -all"
soft.test. TXT "v=spf1 include:nothing.soft.test ~all"
nothing.soft.test. TXT "v=spf1 ?all"
broken.test. TXT "v=spf1 include:x.servfail.test -all"
"""
SCORES = ("dnswl", "dnsbl", "helo", "dyn", "spf", "s_eq_r")
THRESHOLDS = {"dnswl": 1, "dnsbl": 2}


def comparable(answer):
    """Without the time in the header."""
    return re.sub(r"delayed \d+ seconds.*", "", answer)


class Case:
    """A request of a client of its own, and what DNS and the database know of it."""

    def __init__(self, rng, i):
        self.ip = ipaddress.ip_address(rng.choice([0xcb000000, 0xcb000000, 0xc0000000, 0x20010db8 << 96]) + 0x100 + i)
        name = rng.choice(["unknown", f"mail{i}.example.com", f"dsl-{i}.dyn.example.net", f"h{i}.static.example.net"])
        self.request = {
            "client_address": str(self.ip), "client_name": name, "instance": f"i{i}",
            "helo_name": rng.choice([name, "friend", "example.com", f"[{self.ip}]", "fail.test", "pass.test"]),
            "sender": rng.choice(["", "same@example.org", *(f"S+{i}@{name}.test" for name in ("pass", "fail", "soft", "broken", "none"))]),
            "recipient": rng.choice(["same@example.org", f"r{i}@example.org", f"R{i}@example.org", "postmaster@example.org"])}
        self.listed = {zone: answer for zone, answer, chance in (
            ("wl.test", "127.0.9.2", 0.1), ("one.test", "127.0.0.2", 0.2), ("two.test", "127.0.0.2", 0.1), ("some.test", "127.0.0.4", 0.2),
            ("some.test", "127.0.0.9", 0.1), ("error.test", "127.255.255.254", 0.2)) if rng.random() < chance}
        self.status = self.some_status(rng) if rng.random() < 0.5 else None
        self.cached = rng.choice([0, 2]) if rng.random() < 0.15 else None

    @staticmethod
    def some_status(rng):
        """Status, seconds ago, failures; nobody's wait ends while this is asked and that."""
        age, failures = rng.randrange(600, 5000), rng.randrange(3)
        left = 1800 + 600 * failures - age
        return rng.choice([0, 1, 2, 2, 2, 3]), age + 601 if 0 <= left <= 600 else age, failures

    def zone(self):
        reverse = self.ip.reverse_pointer.replace(".in-addr.arpa", "").replace(".ip6.arpa", "")
        return "".join(f"{reverse}.{zone}. A {answer}\n" for zone, answer in self.listed.items())

    def rows(self, now):
        """SQL for all engines."""
        def ago(seconds):
            return (now - datetime.timedelta(seconds=seconds)).isoformat(" ", "microseconds")
        if self.status:
            status, age, failures = self.status
            sender = re.sub(r"\+\d+", "", self.request["sender"].lower())
            yield ("INSERT INTO bley_status (ip, status, last_action, sender, recipient, fail_count) VALUES"
                   f" ('{self.ip.exploded}', {status}, '{ago(age)}', '{sender}', '{self.request['recipient'].lower()}', {failures})")
        if self.cached is not None:
            yield f"INSERT INTO bley_cache (ip, status, last_action) VALUES ('{self.ip.exploded}', {self.cached}, '{ago(20)}')"


class Agreement(bleytest.TestCase):
    def prepare(self, count, **settings):
        rng = random.Random(6)
        cases = [Case(rng, i) for i in range(count)]
        self.write("whitelist_clients", "192.0.2.0/24\n/\\.static\\./\n2001:db8::2f0/124\n")
        servers = dnsnet.NameServers(self, ZONE + "".join(case.zone() for case in cases))
        self.write_conf(cache_valid="10m", greylist_period="30m", greylist_penalty="10m", use_spf=1, use_spf_guess=0, dns_timeout=60,
                        dns_servers=servers.address, dnsbls="one.test, two.test*2, some.test=127.0.0.[2;4], error.test", dnswls="wl.test",
                        dnsbl_threshold=2, dnswl_threshold=1, rfc_threshold=2, **settings)
        self.good("init")
        return cases

    def good(self, *args):
        result = self.bleyctl(*args)
        self.assertEqual((result.returncode, result.stderr), (0, ""), args)
        return result.stdout

    def why(self, case):
        one = case.request
        result = self.bleyctl("why", "--json", one["client_address"], one["sender"], one["recipient"], "--helo", one["helo_name"],
                              "--name", one["client_name"])
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def agree(self, cases, sql):
        """sql(statement) gives rows of text."""
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        for case in cases:
            for statement in case.rows(now):
                sql(statement)
        before = sql("SELECT count(*), sum(fail_count) FROM bley_status")
        wire = b"".join(bleytest.request(**case.request) for case in cases)
        result = self.bleyctl("test", self.write("requests", wire))
        answers = [comparable(text) for text in re.findall(r"action=(.*)\n\n", result.stdout)]
        why = [self.why(case) for case in cases]
        self.assertEqual(sql("SELECT count(*), sum(fail_count) FROM bley_status"), before)
        self.assertEqual(sql("SELECT count(*) FROM bley_log"), [["0"]])
        bley = self.handler()
        told = [comparable(bley.ask(**case.request)) for case in cases]
        self.assertEqual(answers, told)
        self.assertEqual([comparable(one["answer"]) for one in why], told)
        bley.finish()
        logged = {row[0]: row[1:] for row in sql("SELECT ip, " + ", ".join(f"check_{name}" for name in SCORES) + " FROM bley_log")}
        for case, one in zip(cases, why):
            asked = {name: int(value) for name, value in zip(SCORES, logged[case.ip.exploded])}
            if asked["dnswl"] >= THRESHOLDS["dnswl"]:  # then nothing else is asked; why tells all
                asked = {"dnswl": asked["dnswl"]}
            elif asked["dnsbl"] >= THRESHOLDS["dnsbl"] or asked["helo"] + asked["dyn"] + asked["s_eq_r"] >= 2:
                del asked["spf"]
            for name, score in asked.items():
                # lists are asked until the threshold is reached: how far beyond is chance
                most = THRESHOLDS.get(name, score)
                self.assertEqual(min((one["checks"][name] or {"score": 0})["score"], most), min(score, most), (name, one))
        return {re.sub(r" \d.*", "", " ".join(re.split("[ ,:]+", one["reason"])[:2])) for one in why}, logged

    def test_sqlite(self):
        cases = self.prepare(REQUESTS)
        reasons, logged = self.agree(cases, lambda sql: [[str(value) for value in row] for row in self.execute_rows(sql)])
        self.assertLessEqual({"client whitelisted", "recipient whitelisted", "client was", "known to", "waited", "greylisted back", "DNS whitelist",
                              "DNS blacklist", "suspicious HELO", "suspicious DYN", "nothing suspicious"}, reasons)
        # each check has been for and against
        for i, name in enumerate(SCORES):
            self.assertEqual(len({row[i] != "0" for row in logged.values()}), 2, name)
        self.assertEqual(len(logged), REQUESTS)

    def execute_rows(self, sql):
        if sql.startswith("SELECT"):
            return self.rows(sql)
        self.execute(sql)
        return []

    def on_server(self, kind, server):
        self.addCleanup(server.remove)
        name = server.database()
        cases = self.prepare(FEW, dbtype=kind, dbhost=server.host, dbport=server.port, dbname=name)
        self.agree(cases, lambda sql: [line.split("\t") for line in server.sql(sql, name).splitlines()])

    def test_pgsql(self):
        if not servers.PostgreSQL.programs():
            self.need("initdb")
        self.on_server("pgsql", servers.PostgreSQL())

    def test_mysql(self):
        self.need("mariadbd", "mariadb-install-db")
        self.on_server("mysql", servers.MariaDB())


if __name__ == "__main__":
    unittest.main()
