# SPDX-License-Identifier: BSD-3-Clause
"""bleygraph: its sums against a generated log with known truth, its pictures, its page, and what can go wrong."""

import glob
import html
import os
import random
import re
import signal
import sqlite3
import struct
import subprocess
import time
import unittest
import xml.etree.ElementTree
import zlib

import bleytest
import servers

HOUR = 3600
DAY = 24 * HOUR
PERIODS = {"12h": HOUR, "24h": 2 * HOUR, "7d": 12 * HOUR, "28d": 2 * DAY, "365d": 28 * DAY}
NAMES = sorted([f"{kind}-{period}" for kind in ("ar", "ch") for period in PERIODS] + ["delay", "checks"])
ENDS = (".svg", "-dark.svg", "-narrow.svg", "-narrow-dark.svg", ".png")
FILES = sorted([name + end for name in NAMES for end in ENDS] + ["index.html"])
COLUMNS = ("dnswl", "dnsbl", "helo", "dyn", "db", "spf", "s_eq_r", "postmaster", "cache")

# class, action, columns that are not 0 (db: -1 where not said); the thresholds are 2, 2 and 2
KINDS = [
    ("good cache", "DUNNO", {"cache": 1}),
    ("whitelisted", "DUNNO", {"postmaster": 1}),
    ("known good", "DUNNO", {"db": 0}),
    ("known good", "DUNNO", {"db": 1}),
    ("good grey (waited)", "PREPEND", {"db": 2}),
    ("good grey (waited)", "DUNNO", {"db": 2}),
    ("in DNSWL", "DUNNO", {"dnswl": 2}),
    ("new good", "DUNNO", {"dnswl": 1}),
    ("new good", "DUNNO", {"dnsbl": 1, "helo": 1}),
    ("bad cache", "DEFER_IF_PERMIT", {"cache": 1}),
    ("bad grey (too early)", "DEFER_IF_PERMIT", {"db": 2}),
    ("in DNSBL", "DEFER_IF_PERMIT", {"dnsbl": 3, "helo": 2}),
    ("bad HELO", "DEFER_IF_PERMIT", {"dnsbl": 1, "helo": 2, "dyn": 1}),
    ("from DynIP", "DEFER_IF_PERMIT", {"helo": 1, "dyn": 1, "spf": 1}),
    ("bad SPF", "DEFER_IF_PERMIT", {"helo": 1, "spf": 1, "s_eq_r": 1}),
    ("sender==recipient", "DEFER_IF_PERMIT", {"spf": 1, "s_eq_r": 1}),
    ("other thresholds", "DEFER_IF_PERMIT", {"helo": 1}),
]


def png_chunks(data):
    """Checks the sums; yields types and contents."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at = 8
    while at < len(data):
        size, = struct.unpack(">I", data[at:at + 4])
        kind, body = data[at + 4:at + 8], data[at + 8:at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(kind + body)
        yield kind, body
        at += size + 12


class Drawing(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        self.need("gnuplot")
        self.out = self.path("out", "stats")
        self.conf = self.write_conf(dnsbl_threshold=2, dnswl_threshold=2, rfc_threshold=2, **self.engine())
        self.assertEqual(self.bleyctl("init").returncode, 0)

    def engine(self):
        """The configuration of the database."""
        return {}

    def insert(self, values):
        with sqlite3.connect(self.database()) as connection:
            connection.executemany("INSERT INTO bley_log VALUES (" + ",".join("?" * 14) + ")", values)
        connection.close()

    def log(self, rows):
        """Rows: (time in seconds, sender, action, columns)."""
        values = []
        for when, sender, action, columns in rows:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when)) + ".%06d" % (when % 1 * 1e6)
            checks = [columns.get(name, -1 if name == "db" else 0) for name in COLUMNS]
            values.append((stamp, "192.0.2.1", sender, "r@example.org", action, *checks))
        for row in values:
            self.assertEqual(len(row), 14)
        self.insert(values)

    def graph(self, *args, **env):
        return self.run_program([bleytest.program("bleygraph"), "-c", self.conf, "-d", self.out, *args],
                                env={**os.environ, **env})

    def draw(self, **env):
        result = self.graph("-q", **env)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        self.assertEqual(sorted(os.listdir(self.out)), FILES)
        for name in FILES:
            path = os.path.join(self.out, name)
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o644)
            with open(path, "rb") as stream:
                data = stream.read()
            if name.endswith(".png"):
                chunks = list(png_chunks(data))
                self.assertEqual((chunks[0][0], chunks[-1][0]), (b"IHDR", b"IEND"))
                self.assertEqual(struct.unpack(">I", chunks[0][1][:4])[0], 900)
            elif name.endswith(".svg"):
                self.assertTrue(xml.etree.ElementTree.fromstring(data).tag.endswith("svg"))
        with open(os.path.join(self.out, "index.html"), encoding="utf-8") as stream:
            return stream.read()

    def texts(self, page):
        return dict(re.findall(r'<img src="(\S+)\.svg" alt="([^"]*)"', page))

    def sums(self, text):
        """Class to (total, most, least)."""
        return {name: (int(total), int(most), int(least)) for name, total, most, least in
                re.findall(r"; ([^;]*?) (\d+) \(at most (\d+), at least (\d+) in", text)}

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as stream:
            return stream.read()

    def files(self):
        found = {}
        for path in glob.glob(os.path.join(self.out, "*")):
            with open(path, "rb") as stream:
                found[path] = stream.read()
        return found


class Sums:
    """What holds on each engine."""

    def test_known_truth(self):
        rng = random.Random(7)
        now = time.time()
        rows, truth = [], {period: {} for period in PERIODS}
        for number in range(3000):
            name, action, columns = KINDS[number % len(KINDS)]
            period = rng.choice(list(PERIODS))
            # half an hour from any edge of a slot, as the test takes time
            age = (rng.randrange(12 * PERIODS[period] // HOUR) + 0.5) * HOUR
            rows.append((now - age, f"s{number}@example.com", action, columns))
        for when, _, action, columns in rows:
            name = next(k[0] for k in KINDS if k[1:] == (action, columns))
            for period, size in PERIODS.items():
                back = (now - when) / size
                if back < 12:
                    slots = truth[period].setdefault(name, [0] * 12)
                    slots[11 - int(back)] += 1
        self.log(rows)
        texts = self.texts(self.draw())
        self.assertEqual(sorted(texts), NAMES)
        for period in PERIODS:
            expected = {name: (sum(slots), max(slots), min(slots)) for name, slots in truth[period].items()}
            got = self.sums(texts["ch-" + period])
            self.assertEqual(got, expected, period)
            both = self.sums(texts["ar-" + period])
            self.assertEqual(sum(v[0] for v in both.values()), sum(v[0] for v in got.values()))
            deferred = {name for name, action, _ in KINDS if action != "DUNNO" and action != "PREPEND"}
            self.assertEqual(both["deferred"][0], sum(v[0] for name, v in got.items() if name in deferred))
        self.assertEqual(sum(v[0] for v in self.sums(texts["ch-365d"]).values()), 3000)

    def test_tuning(self):
        now = time.time()
        helo, grey = {"helo": 2}, {"db": 2}
        rows = [(now - 9000, "a@x", "DEFER_IF_PERMIT", helo), (now - 8900, "a@x", "DEFER_IF_PERMIT", grey),
                (now - 7000, "a@x", "PREPEND", grey), (now - 9000, "b@x", "DEFER_IF_PERMIT", helo),
                (now - 9000, "c@x", "DEFER_IF_PERMIT", {"dnsbl": 2}), (now - 9000, "d@x", "DEFER_IF_PERMIT", {"cache": 1}),
                (now - 3000, "e@x", "PREPEND", grey)]
        self.log(rows)
        texts = self.texts(self.draw())
        self.assertIn("; bad HELO: 1 came back, 1 did not", texts["checks"])
        self.assertIn("; in DNSBL: 0 came back, 1 did not", texts["checks"])
        self.assertEqual(html.unescape(texts["delay"]).split("; ")[1:], ["< 1 h: 1"])  # 2000 s

    def test_empty(self):
        page = self.draw()
        for name, text in self.texts(page).items():
            self.assertTrue(text.endswith(": no mail in this period"), name)
            with open(os.path.join(self.out, name + ".svg"), encoding="utf-8") as stream:
                self.assertIn("no mail in this period", stream.read())
        self.assertNotRegex(page, r"https?://|<script|url\(")

    def test_one_row(self):
        self.log([(time.time() - 60, "a@x", "DUNNO", {})])
        texts = self.texts(self.draw())
        for period in PERIODS:
            self.assertEqual(self.sums(texts["ch-" + period]), {"new good": (1, 1, 0)})
        self.assertIn("no mail", texts["delay"])

    def test_clock_change(self):
        """Slots are as long as ever where the clocks were changed, and the axis has the local times."""
        now = int(time.time())
        change = time.gmtime(now - 4 * HOUR)
        # a zone whose summer ended four hours ago
        day = change.tm_yday - 1
        zone = f"AAA0BBB,{(day + 180) % 365}/0,{day}/{change.tm_hour + 1}"
        self.log([(now - (slot + 0.5) * HOUR, f"s{slot}@x", "DUNNO", {}) for slot in range(12)])
        texts = self.texts(self.draw(TZ=zone))
        self.assertEqual(self.sums(texts["ch-12h"]), {"new good": (12, 1, 1)})
        with open(os.path.join(self.out, "ar-12h.svg"), encoding="utf-8") as stream:
            shown = re.findall(r"\b(\d\d):\d\d\b", stream.read())
        hours = [int(hour) for hour in shown]
        self.assertEqual(len(hours), 7)
        steps = sorted((b - a) % 24 for a, b in zip(hours, hours[1:]))
        self.assertEqual(steps, [1, 2, 2, 2, 2, 2])


class OnSqlite(Sums, Drawing):
    pass


class OnServer(Sums):
    def insert(self, values):
        rows = ", ".join("(" + ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in row) + ")"
                         for row in values)
        self.server.sql(f"INSERT INTO bley_log VALUES {rows}", self.name)

    def test_slower_than_a_mail_would_wait(self):
        """A statement that takes longer than db_timeout: it waits for a table that somebody has locked."""
        self.log([(time.time() - 60, "a@x", "DUNNO", {})])
        self.conf = self.write_conf(db_timeout=1, **self.database_keys)
        locker = subprocess.Popen(self.client(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(bleytest.stop, locker)
        locker.stdin.write(self.LOCK)
        locker.stdin.flush()
        self.assertEqual(locker.stdout.readline().strip(), "locked")
        drawing = self.start([bleytest.program("bleygraph"), "-q", "-c", self.conf, "-d", self.out], log="drawing")
        self.wait_until(lambda: drawing.poll() is not None or self.server.sql(self.WAITING, self.name).strip() != "0",
                        "a statement that waits for longer than db_timeout")
        locker.stdin.close()
        self.assertEqual(drawing.wait(servers.PATIENCE), 0, self.read("drawing"))
        self.assertEqual(sorted(os.listdir(self.out)), FILES)


class OnPostgreSQL(OnServer, Drawing):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not servers.PostgreSQL.programs():
            bleytest.TestCase().need("initdb")
        cls.server = servers.PostgreSQL()
        cls.addClassCleanup(cls.server.remove)

    def engine(self):
        self.name = self.server.database()
        # the times in the log are UTC whatever the server's are
        self.server.sql(f"ALTER DATABASE {self.name} SET timezone = 'Europe/Berlin'", "postgres")
        self.database_keys = {"dbtype": "pgsql", "dbhost": self.server.host, "dbport": self.server.port, "dbname": self.name}
        return self.database_keys

    LOCK = "BEGIN; LOCK TABLE bley_log; SELECT 'locked';\n"
    WAITING = ("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
               " AND clock_timestamp() - query_start > interval '1500 ms'")

    def client(self):
        return [os.path.join(self.server.bin, "psql"), "-X", "-q", "-A", "-t", "-h", self.server.host, "-p",
                str(self.server.port), "-U", "postgres", "-d", self.name]


class OnMariaDB(OnServer, Drawing):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        bleytest.TestCase().need("mariadbd", "mariadb-install-db")
        cls.server = servers.MariaDB()
        cls.addClassCleanup(cls.server.remove)

    def engine(self):
        self.name = self.server.database()
        self.database_keys = {"dbtype": "mysql", "dbhost": self.server.host, "dbname": self.name}
        return self.database_keys

    LOCK = "LOCK TABLES bley_log WRITE; SELECT 'locked';\n"
    WAITING = "SELECT count(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%' AND time_ms > 1500"

    def client(self):
        return ["mariadb", "--no-defaults", "-uroot", "-S", self.server.host, "-N", "-B", "-n", self.name]


class Graph(Drawing):
    def test_failures(self):
        self.draw()
        before = self.files()
        fakes = self.path("fakes")
        os.mkdir(fakes)

        def fails(expected, **env):
            result = self.graph(**env)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertRegex(result.stderr, expected)
            self.assertEqual(result.stderr.count("\n"), 1)
            self.assertEqual(self.files(), before)
            self.assertEqual(sorted(os.listdir(self.out)), FILES)

        gnuplot = self.need("gnuplot")
        fails("gnuplot-nox", PATH=fakes)
        self.write("fakes/gnuplot", "#!/bin/sh\necho >&2; echo 'it is broken' >&2; exit 3\n", 0o755)
        fails("^bleygraph: gnuplot failed: it is broken$", PATH=fakes)
        self.write("fakes/gnuplot", "#!/bin/sh\nexec /bin/cat >/dev/null\n", 0o755)
        fails("^bleygraph: gnuplot did not finish ar-12h.svg$", PATH=fakes)
        # halfway: it ends, says why, or is killed
        half = "#!/bin/sh\n/usr/bin/head -n 500 | " + gnuplot + "\n"
        self.write("fakes/gnuplot", half, 0o755)
        fails(r"^bleygraph: gnuplot did not finish \S+[.](svg|png)$", PATH=fakes)
        self.write("fakes/gnuplot", half + "echo 'no memory left' >&2; exit 1\n", 0o755)
        fails("^bleygraph: gnuplot failed: no memory left$", PATH=fakes)
        self.write("fakes/gnuplot", half + "kill -KILL $$\n", 0o755)
        fails("^bleygraph: gnuplot failed: it gave no reason$", PATH=fakes)
        # one file of all is cut
        self.write("fakes/gnuplot", "#!/bin/sh\n" + gnuplot + "; for f in delay.png ch-24h-dark.svg; do "
                   "/usr/bin/truncate -s -20 $f; done\n", 0o755)
        fails("^bleygraph: gnuplot did not finish ch-24h-dark.svg$", PATH=fakes)

    def test_stopped(self):
        self.draw()
        before = self.files()
        self.write("fakes/gnuplot", "#!/bin/sh\n: >ar-12h.svg\nexec /bin/sleep 1000\n", 0o755)
        for number in (signal.SIGTERM, signal.SIGINT):
            drawing = self.start([bleytest.program("bleygraph"), "-c", self.conf, "-d", self.out],
                                 env={**os.environ, "PATH": self.path("fakes")})
            self.wait_until(lambda: glob.glob(os.path.join(self.out, ".bleygraph-*", "ar-12h.svg")), "the plotter")
            drawing.send_signal(number)
            self.assertEqual(drawing.wait(bleytest.PATIENCE), -number)
            self.assertEqual(self.files(), before)
            self.assertEqual(sorted(os.listdir(self.out)), FILES)
        self.assertEqual(self.read("bleygraph.out"), "")

    def test_no_room_and_no_rights(self):
        self.need("unshare", "mount")
        self.need_root()
        if self.run_program(["unshare", "-m", "true"]).returncode:
            self.skipTest("no mount namespaces here")
        for change, expected in (('dd if=/dev/zero of=fill bs=4096 2>&1 | grep -q "No space"', "No space left on device"),
                                 ('mount -o remount,ro .', "Read-only file system")):
            script = f'''sums() {{ cat *.svg *.png *.html | cksum; ls -A | grep -v fill; }}
                mount -t tmpfs -o size=16m none "$0"; cd "$0"; "$@" -q; sums; {change}; "$@" || echo "status $?"; sums'''
            os.makedirs(self.out, exist_ok=True)
            result = self.run_program(["unshare", "-m", "sh", "-ec", script, self.out, bleytest.program("bleygraph"),
                                       "-c", self.conf, "-d", self.out])
            before, after = result.stdout.split("status 1\n")
            self.assertEqual(before, after)
            self.assertEqual(sorted(after.splitlines()[1:]), FILES)
            self.assertRegex(result.stderr, f"^bleygraph: .*: {expected}\n$")

    def test_destdir(self):
        self.write("out/stats", "a file in its place")
        result = self.graph()
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertRegex(result.stderr, r"^bleygraph: .*stats.*\n$")
        self.assertEqual(result.stderr.count("\n"), 1)
        self.out = "/proc/bleygraph"  # not even root may write there
        self.assertRegex(self.graph().stderr, r"^bleygraph: /proc/bleygraph: .*\n$")

    def test_destdir_of_the_configuration(self):
        self.conf = self.write_conf(graph={"destdir": "pictures"})
        result = self.run_program([bleytest.program("bleygraph"), "-c", self.conf])
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(sorted(os.listdir(self.path("pictures"))), FILES)


if __name__ == "__main__":
    unittest.main()
