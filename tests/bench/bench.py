#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""bley beside its peers and the floor: `make bench`, or `make bench PEERS="postgrey sqlgrey" RUNS=7 REQUESTS=20000`.

What is compared is started here, on loopback and in a folder of its own; the runs are interleaved (A B A B ...), and
medians and ratios are printed as tables and written as JSON. Never part of `make check`."""

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time

import bleytest
import supervise

KNOWN = 1000  # tuples that are known before a run


class Case(bleytest.TestCase):
    """A test case that asserts nothing: it starts things and stops them."""

    def runTest(self):
        pass


class Server:
    """Something that answers policy requests. `start` is called once with a Case and returns the address."""

    def __init__(self, name, start, known="DUNNO", new="DUNNO", prime=None):
        self.name, self.start, self.known, self.new, self.prime = name, start, known, new, prime
        self.case = Case()
        self.address = None
        self.seed = 1

    def __enter__(self):
        self.case.setUp()
        self.address = self.start(self.case)
        self.load(["-p", "-n", str(KNOWN), "-m", "known", "-k", f"{self.known} {self.new}"])
        if self.prime:
            self.prime(self.case)
            self.load(["-p", "-n", str(KNOWN), "-m", "known", "-k", f"{self.known} PREPEND"])
        return self

    def __exit__(self, *_):
        self.case.doCleanups()
        return False

    def load(self, options):
        self.seed += 1
        address = self.address if isinstance(self.address, str) else f"{self.address[0]}:{self.address[1]}"
        command = [bleytest.program("tests/bench/load"), "-t", str(KNOWN), "-s", str(self.seed), *options, address]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(command)}: {done.stderr}{done.stdout}")
        return json.loads(done.stdout)

    def run(self, mix, requests, clients, one_shot):
        return self.load(["-m", mix, "-n", str(requests), "-c", str(clients), "-k", self.known, "-w", self.new,
                          *(["-1"] if one_shot else [])])


# --- bley, under each super-server and on each database

def conf_of(case, **keys):
    return case.write_conf(**{"log_file": "/dev/null", "greylist_period": "0s", **keys})


def lasting(**keys):
    return lambda case: supervise.socket_activate(case, case.path("socket"), conf_of(case, **keys))


def warm(**keys):
    return lambda case: supervise.warm(case, [f"127.0.0.1:{bleytest.free_port()}"], conf_of(case, **keys))[1][0]


def under_xinetd(**keys):
    def start(case):
        supervise.give_to_nobody(case)
        return supervise.xinetd(case, conf_of(case, **keys))
    return start


# --- the floor

ECHO = "tests/bench/echo"


def echo_lasting(case):
    return supervise.start_socket_activate(case, [case.path("socket")], None, ["--accept", "--inetd"],
                                           program=bleytest.program(ECHO))[1][0]


def echo_forked(case):
    return supervise.start_socket_activate(case, [f"127.0.0.1:{bleytest.free_port()}"], None, [],
                                           program=bleytest.program(ECHO), args=["-l"])[1][0]


def echo_xinetd(case):
    return supervise.xinetd(case, None, program=bleytest.program(ECHO))


# --- peers out of Debian's packages

def postgrey(case):
    port = bleytest.free_port()
    folder = case.path("postgrey")
    os.mkdir(folder, 0o755)
    shutil.chown(folder, "postgrey", "postgrey")
    process = case.start([case.need("postgrey"), f"--inet=127.0.0.1:{port}", f"--dbdir={folder}", "--delay=1",
                          "--auto-whitelist-clients=0", "--lookup-by-host", "--quiet"])
    case.wait_for_port(port, process=process)
    return "127.0.0.1", port


def sqlgrey(case):
    port = bleytest.free_port()
    folder = case.path("sqlgrey")
    os.mkdir(folder, 0o755)
    shutil.chown(folder, "sqlgrey")
    for name in ("clients_ip_whitelist", "clients_fqdn_whitelist"):
        case.write(f"sqlgrey/{name}", "")
    conf = case.write("sqlgrey.conf", f"""
        conf_dir = {folder}
        inet = {port}
        user = sqlgrey
        group = nogroup
        loglevel = 0
        reconnect_delay = 0
        max_connect_age = 24
        group_domain_level = 10
        awl_age = 60
        db_type = SQLite
        db_name = {folder}/sqlgrey.db
        db_cleandelay = 1800
        clean_method = sync
        greymethod = full
        optmethod = none
        """.replace("        ", ""))
    process = case.start([case.need("sqlgrey"), "-f", conf], cwd=folder)
    case.wait_for_port(port, process=process)
    return "127.0.0.1", port


def wait_a_moment(case):
    """A peer's shortest delay is a second, and it has no clock that could be moved."""
    time.sleep(2.5)


PEERS = {
    "postgrey": lambda: Server("postgrey", postgrey, "DUNNO PREPEND", "DEFER_IF_PERMIT", wait_a_moment),
    "sqlgrey": lambda: Server("sqlgrey", sqlgrey, "dunno PREPEND prepend", "DEFER_IF_PERMIT defer_if_permit", wait_a_moment),
}


# --- the comparisons

def groups(peers):
    """Title, servers, one-shot?, clients, mixes."""
    others = [PEERS[name] for name in peers]
    return [
        ("lasting connections, 8 at once", [
            lambda: Server("bley, SQLite", lasting()),
            lambda: Server("bley, SQLite, cache off", lasting(cache_valid=0)),
            lambda: Server("echo", echo_lasting), *others], False, 8, ("known", "new", "mixed")),
        ("one connection a request, 8 at once", [
            lambda: Server("bley, warm mode", warm()),
            lambda: Server("bley, xinetd", under_xinetd()),
            lambda: Server("echo, accept and fork", echo_forked),
            lambda: Server("echo, xinetd", echo_xinetd), *others], True, 8, ("known", "new")),
    ]


def compare(title, servers, one_shot, clients, mixes, runs, requests):
    figures = {}
    for mix in mixes:
        started = []
        try:
            for make in servers:
                started.append(make().__enter__())
            for _ in range(runs):
                for server in started:
                    figures.setdefault((server.name, mix), []).append(server.run(mix, requests, clients, one_shot))
        finally:
            for server in started:
                server.__exit__()
    return [{"group": title, "server": name, "mix": mix,
             **{key: statistics.median(run[key] for run in results) for key in ("per_second", "p50_us", "p99_us")},
             "least": min(run["per_second"] for run in results), "most": max(run["per_second"] for run in results)}
            for (name, mix), results in figures.items()]


def show(rows):
    first = {}
    print(f"\n{rows[0]['group']}\n{'':26}{'mix':7}{'requests/s':>11}{'(least-most)':>16}{'ratio':>7}{'p50 us':>9}{'p99 us':>9}")
    for row in rows:
        base = first.setdefault(row["mix"], row["per_second"])
        spread = f"({row['least']:,}-{row['most']:,})"
        print(f"{row['server']:26}{row['mix']:7}{row['per_second']:>11,.0f}{spread:>16}{row['per_second'] / base:>7.2f}"
              f"{row['p50_us']:>9,.0f}{row['p99_us']:>9,.0f}")


# --- memory and growth

def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("Pss:"))


def memory(count=100):
    """The proportional set size of handlers that have served a request and wait for the next."""
    case = Case()
    case.setUp()
    try:
        conf_of(case)
        handlers = [case.handler() for _ in range(count)]
        for handler in handlers:
            handler.ask()
        return statistics.median(pss_kib(handler.process.pid) for handler in handlers)
    finally:
        case.doCleanups()


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmRSS:"))


def flatness(requests):
    """Resident memory of one handler after a tenth of the requests and after all."""
    case = Case()
    case.setUp()
    try:
        conf_of(case)
        handler = case.handler()
        sizes = []
        block = [bleytest.request(sender=f"u{n}@example.net") for n in range(50)]
        for part in range(10):
            for _ in range(requests // 10 // len(block)):
                handler.send(b"".join(block))
                for _ in block:
                    handler.answer()
            sizes.append(rss_kib(handler.process.pid))
        return sizes[0], sizes[-1]
    finally:
        case.doCleanups()


def fill(case, rows):
    """Rows of clients that the load generator does not use."""
    connection = sqlite3.connect(case.database())
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO bley_status (ip, status, last_action, sender, recipient, fail_count)"
        " SELECT '172.' || (i >> 16 & 255) || '.' || (i >> 8 & 255) || '.' || (i & 255), 0, '2026-01-01 00:00:00.000000',"
        " 'user' || i || '@filler.example', 'someone' || i || '@recipient.example', 0 FROM n", (rows,))
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def growth(sizes, runs, requests):
    rows = []
    for size in sizes:
        with Server(f"bley, {size:,} rows", lasting(cache_valid=0)) as server:
            fill(server.case, size)
            results = [server.run("known", requests, 8, False)["per_second"] for _ in range(runs)]
            rows.append({"rows": size, "per_second": statistics.median(results),
                         "bytes_a_row": os.path.getsize(server.case.database()) / size})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=os.environ.get("PEERS", ""), help="of: " + " ".join(PEERS))
    parser.add_argument("--runs", type=int, default=int(os.environ.get("RUNS", "5")))
    parser.add_argument("--requests", type=int, default=int(os.environ.get("REQUESTS", "10000")))
    parser.add_argument("--rows", default=os.environ.get("ROWS", "10000 1000000"), help="database sizes for the growth run")
    parser.add_argument("--json", default=os.path.join(bleytest.BUILD, "bench.json"))
    options = parser.parse_args()
    unknown = set(options.peers.split()) - set(PEERS)
    if unknown:
        sys.exit(f"bench: no such peer: {' '.join(unknown)}; there are {' '.join(PEERS)}")
    result = {"runs": options.runs, "requests": options.requests, "cores": os.cpu_count(), "rows": []}
    for title, servers, one_shot, clients, mixes in groups(options.peers.split()):
        rows = compare(title, servers, one_shot, clients, mixes, options.runs, options.requests)
        show(rows)
        result["rows"] += rows
    result["pss_kib"] = memory()
    print(f"\nan idle handler of 100: {result['pss_kib']} KiB (proportional set size)")
    result["rss_kib"] = flatness(options.requests * 10)
    print(f"one handler after {options.requests} and {options.requests * 10} requests: {result['rss_kib']} KiB resident")
    result["growth"] = growth([int(word) for word in options.rows.split()], options.runs, options.requests)
    for row in result["growth"]:
        print(f"known, cache off, {row['rows']:,} rows: {row['per_second']:,.0f}/s, {row['bytes_a_row']:.0f} bytes a row")
    with open(options.json, "w", encoding="utf-8") as stream:
        json.dump(result, stream, indent=1)
    print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
