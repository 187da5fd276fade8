#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""bley beside its peers and the floor: `make bench`, or `make bench PEERS="postgrey sqlgrey gld" RUNS=7 REQUESTS=20000`.

What is compared is started here, on loopback and in a folder of its own; the runs are interleaved (A B A B ...), every
answer is checked, and medians and ratios are printed as tables and written as JSON. Never part of `make check`."""

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
import servers
import supervise

KNOWN = 1000  # tuples that are known before a run
SLOW = 5  # peers get this part of the requests

# Requests a second of the Python daemon (bley 2.0.0), measured with the same servers, settings and kind of load on a machine of
# this size: it is in no package that could be started here. Lasting connections, 8 at once.
PYTHON = {
    "SQLite": {"known": 990, "new": 860, "mixed": 920},
    "PostgreSQL": {"known": 1010, "new": 860, "mixed": 820},
    "MariaDB": {"known": 1320, "new": 910, "mixed": 1260},
}


class Case(bleytest.TestCase):
    """A test case that asserts nothing: it starts things and stops them."""

    def runTest(self):
        pass


class Server:
    """Something that answers policy requests. `start` is called once with a Case and returns the address. `share`: of the
    requests it gets one in so many."""

    seeds = iter(range(1, 1024))  # load.c's new tuples differ from seed to seed

    def __init__(self, name, start, known="DUNNO", new="DUNNO", prime=None, one_shot=False, share=1):
        self.name, self.start, self.known, self.new, self.prime = name, start, known, new, prime
        self.one_shot, self.share = one_shot, share
        self.case = Case()
        self.address = None

    def __enter__(self):
        self.case.setUp()
        try:
            self.address = self.start(self.case)
            self.load(["-p", "-n", str(KNOWN), "-m", "known", "-k", f"{self.known} {self.new}"])
            if self.prime:
                self.prime(self.case)
                self.load(["-p", "-n", str(KNOWN), "-m", "known", "-k", f"{self.known} PREPEND"])
        except BaseException:
            self.case.doCleanups()
            raise
        return self

    def __exit__(self, *_):
        self.case.doCleanups()
        return False

    def load(self, options):
        address = self.address if isinstance(self.address, str) else f"{self.address[0]}:{self.address[1]}"
        command = [bleytest.program("tests/bench/load"), "-t", str(KNOWN), "-s", str(next(Server.seeds)), *options,
                   *(["-1"] if self.one_shot else []), address]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(command)}: {done.stderr}{done.stdout}")
        return json.loads(done.stdout)

    def run(self, mix, requests, clients):
        return self.load(["-m", mix, "-n", str(max(requests // self.share, clients)), "-c", str(clients), "-k", self.known,
                          "-w", self.new])


# --- bley, under each super-server and on each database

def conf_of(case, **keys):
    return case.write_conf(**{"log_file": "/dev/null", "greylist_period": "0s", **keys})


def lasting(program=None, **keys):
    def start(case):
        return supervise.start_socket_activate(case, [case.path("socket")], None, ["--accept", "--inetd"],
                                               program=program or bleytest.bley_for_all(case),
                                               args=[*bleytest.ALLOW_ROOT, "-c", conf_of(case, **keys)])[1][0]
    return start


def warm(**keys):
    return lambda case: supervise.warm(case, [f"127.0.0.1:{bleytest.free_port()}"], conf_of(case, **keys))[1][0]


def under_xinetd(program=None, wait=False, **keys):
    def start(case):
        supervise.give_to_nobody(case)
        return supervise.xinetd(case, conf_of(case, **keys), program=program, wait=wait)
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


def bare_xinetd(case):
    """What the shape itself costs: a process for each request that opens SQLite, and nothing of bley."""
    conf = conf_of(case)
    supervise.give_to_nobody(case)
    subprocess.run([bleytest.program("bleyctl"), "-c", conf, "init"], check=True, stdout=subprocess.DEVNULL)
    return supervise.xinetd(case, case.path("db", "bley.db"), program=bleytest.program("tests/bench/bare"))


# --- the databases

# As for the Python daemon's figures above; and as a mail host would have them, each commit flushed.
POSTGRESQL = {"shared_buffers": "128MB"}
POSTGRESQL_SAFE = {"shared_buffers": "128MB", "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
MARIADB = ["--innodb-buffer-pool-size=128M", "--innodb-log-file-size=64M"]
MARIADB_SAFE = [*MARIADB, "--innodb-flush-log-at-trx-commit=1"]


def postgresql_keys(server):
    return {"dbtype": "pgsql", "dbhost": server.host, "dbport": server.port, "dbname": server.database(), "dbtls": "off"}


def mariadb_keys(server):
    return {"dbtype": "mysql", "dbhost": server.host, "dbname": server.database(), "dbtls": "off"}


def on_database(how, make, keys):
    """A start function: a database server of its own, and bley under `how` on it."""
    def start(case):
        server = make()
        case.addCleanup(server.remove)
        return how(**keys(server))(case)
    return start


def on_postgresql(how, settings):
    return on_database(how, lambda: servers.PostgreSQL(**settings), postgresql_keys)


def on_mariadb(how, options):
    return on_database(how, lambda: servers.MariaDB(*options), mariadb_keys)


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


def gld(case):
    """Reads /etc/gld.conf and nothing else, and closes the connection after each answer. Its table is as its package makes it."""
    port = bleytest.free_port()
    program = case.need("gld")
    database = servers.MariaDB(*MARIADB)
    case.addCleanup(database.remove)
    name = database.database()
    with open(os.path.join(bleytest.root_of(program) or "/", "usr/share/gld/tables.mysql"), encoding="utf-8") as stream:
        database.sql(stream.read(), name)
    shutil.copytree("/etc", case.path("etc"), symlinks=True, ignore=shutil.ignore_patterns("*shadow*", "ssl"))
    case.write("etc/gld.conf", f"""\
PORT={port}
LOOPBACKONLY=1
MAXCON=100
MINTIME=1
LIGHTGREY=0
MXGREY=0
WHITELIST=0
ERRACCEPT=0
SYSLOG=0
MESSAGE=later
TRAINING=0
SQLHOST=localhost
SQLUSER=bley
SQLPASSWD=bley
SQLDB={name}
""")
    case.start(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
                'mount --bind "$1" /etc && "$2" && exec sleep infinity', "sh", case.path("etc"), program],
               env={**os.environ, "MYSQL_UNIX_PORT": database.host})
    case.wait_for_port(port)
    return "127.0.0.1", port


def wait_a_moment(case):
    """A peer's shortest delay is a second, and it has no clock that could be moved."""
    time.sleep(2.5)


PEERS = {
    "postgrey": lambda **how: Server("postgrey", postgrey, "DUNNO PREPEND", "DEFER_IF_PERMIT", wait_a_moment, share=SLOW, **how),
    "sqlgrey": lambda **how: Server("sqlgrey", sqlgrey, "dunno PREPEND prepend", "DEFER_IF_PERMIT defer_if_permit",
                                    wait_a_moment, share=SLOW, **how),
    "gld": lambda **how: Server("gld, MariaDB", gld, "dunno", "defer_if_permit", wait_a_moment, share=SLOW, **how),
}
ONE_SHOT_ONLY = {"gld"}


# --- the comparisons: title, servers, clients, mixes

def compare_lasting(options):
    return ("lasting connections, 8 at once", [
        Server("bley, SQLite", lasting()),
        Server("bley, SQLite, cache off", lasting(cache_valid=0)),
        *(Server(f"bley of {name}", lasting(f"{build}/bley")) for name, build in options.against),
        Server("echo", echo_lasting),
        *(PEERS[name]() for name in options.peers if name not in ONE_SHOT_ONLY)], ("known", "new", "mixed"))


def compare_one_shot(options):
    return ("one connection a request, 8 at once", [
        Server("bley, warm mode", warm(), one_shot=True),
        Server("bley, xinetd, wait = yes", under_xinetd(wait=True, idle_exit="5s"), one_shot=True),
        *(Server(f"{bley}, xinetd{how}", under_xinetd(program, **keys), one_shot=True)
          for bley, program in (("bley", None), *((f"bley of {name}", f"{build}/bley") for name, build in options.against))
          for how, keys in (("", {}), (", no sandbox", {"sandbox": 0}))),
        Server("echo, accept and fork", echo_forked, one_shot=True),
        Server("bare, xinetd", bare_xinetd, one_shot=True),
        Server("echo, xinetd", echo_xinetd, one_shot=True),
        *(PEERS[name](one_shot=True) for name in options.peers)], ("known", "new"))


def compare_databases(_):
    return ("lasting connections, 8 at once", [
        Server("SQLite", lasting()),
        Server("PostgreSQL", on_postgresql(lasting, POSTGRESQL)),
        Server("PostgreSQL, flushed", on_postgresql(lasting, POSTGRESQL_SAFE)),
        Server("MariaDB", on_mariadb(lasting, MARIADB)),
        Server("MariaDB, flushed", on_mariadb(lasting, MARIADB_SAFE))], ("known", "new", "mixed"))


def compare_databases_warm(_):
    return ("one connection a request, 8 at once, warm mode", [
        Server("SQLite", warm(), one_shot=True),
        Server("PostgreSQL", on_postgresql(warm, POSTGRESQL), one_shot=True),
        Server("MariaDB", on_mariadb(warm, MARIADB), one_shot=True)], ("known", "new"))


FIGURES = ("per_second", "p50_us", "p90_us", "p99_us", "max_us")


def compare(title, compared, mixes, options, clients=8):
    """All of the servers are there at once; who is compared next runs next."""
    results = {}
    started = []
    try:
        for server in compared:
            started.append(server.__enter__())
        for mix in mixes:
            for _ in range(options.runs):
                for server in started:
                    results.setdefault((server.name, mix), []).append(server.run(mix, options.requests, clients))
    finally:
        for server in started:
            server.__exit__()
    return [{"group": title, "server": name, "mix": mix, "runs": runs,
             **{key: statistics.median(run[key] for run in runs) for key in FIGURES},
             "least": min(run["per_second"] for run in runs), "most": max(run["per_second"] for run in runs)}
            for (name, mix), runs in results.items()]


def show(rows):
    first = {}
    print(f"\n{rows[0]['group']}\n{'':34}{'mix':7}{'requests/s':>11}{'(least-most)':>16}{'ratio':>7}{'p50 us':>9}{'p90 us':>9}"
          f"{'p99 us':>9}{'x Python':>10}")
    for row in rows:
        base = first.setdefault(row["mix"], row["per_second"])
        spread = f"({row['least']:,}-{row['most']:,})"
        python = PYTHON.get(row["server"], {}).get(row["mix"])
        print(f"{row['server']:34}{row['mix']:7}{row['per_second']:>11,.0f}{spread:>16}{row['per_second'] / base:>7.2f}"
              f"{row['p50_us']:>9,.0f}{row['p90_us']:>9,.0f}{row['p99_us']:>9,.0f}"
              + (f"{row['per_second'] / python:>10.1f}" if python else ""), flush=True)


def comparison(make):
    def measure(options):
        title, compared, mixes = make(options)
        rows = compare(title, compared, mixes, options)
        show(rows)
        return rows
    return measure


# --- memory and growth

def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("Pss:"))


def family(pid):
    """A process and those it has started, which are the children of its only thread."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as stream:
        return [pid, *(descendant for child in stream.read().split() for descendant in family(int(child)))]


def server_kib(server):
    return sum(pss_kib(pid) for pid in family(server.process.pid))


def idle_handlers(make, keys, count):
    """KiB of proportional set size, of a handler that has served a request and waits, and of the server for each of them."""
    case = Case()
    case.setUp()
    try:
        server = make() if make else None
        if server:
            case.addCleanup(server.remove)
        conf_of(case, **(keys(server) if server else {}))
        first = case.handler()
        first.ask()
        before = server_kib(server) if server else 0
        handlers = [case.handler() for _ in range(count)]
        for handler in handlers:
            handler.ask()
        after = server_kib(server) if server else 0
        return statistics.median(pss_kib(handler.process.pid) for handler in handlers), (after - before) / count
    finally:
        case.doCleanups()


def memory(_, count=100):
    result = {"SQLite": idle_handlers(None, None, count),
              "PostgreSQL": idle_handlers(lambda: servers.PostgreSQL(**POSTGRESQL), postgresql_keys, count),
              "MariaDB": idle_handlers(lambda: servers.MariaDB(*MARIADB), mariadb_keys, count)}
    print(f"\nKiB of one of {count} idle handlers, and of the server for each")
    for name, (handler, server) in result.items():
        print(f"{name:12}{handler:>9.0f}{server:>9.0f}", flush=True)
    return result


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmRSS:"))


def flatness(options):
    """Resident memory of one handler after each tenth of many requests, one in ten of them new."""
    case = Case()
    case.setUp()
    try:
        conf_of(case)
        handler = case.handler()
        sizes, new = [], 0
        known = b"".join(bleytest.request(sender=f"u{n}@example.net") for n in range(45))
        for _ in range(10):
            for _ in range(options.lifetime // 10 // 50):
                new += 5
                handler.send(known + b"".join(bleytest.request(sender=f"n{new + n}@example.net", client_address=f"203.0.113.{n}")
                                              for n in range(5)))
                for _ in range(50):
                    if handler.answer() != "DUNNO":
                        raise SystemExit("wrong answer")
            sizes.append(rss_kib(handler.process.pid))
    finally:
        case.doCleanups()
    print(f"\none handler, {options.lifetime:,} requests, resident KiB after each tenth: {sizes}", flush=True)
    return sizes


# Rows like those of load.c's known tuples and among them, in the order of the key, which is much faster.
SPREAD = "({i} * 2654435761) % 16777216"
TUPLES = ("SELECT '10.' || (h >> 16 & 255) || '.' || (h >> 8 & 255) || '.' || (h & 255), 0, {when},"
          " 'filler' || i || '@sender' || (i % 5000) || '.example', 'someone' || (i % 1000) || '@recipient.example', 0"
          " FROM {numbers} ORDER BY 1, 4")
COLUMNS = "(ip, status, last_action, sender, recipient, fail_count)"
LITE_NUMBERS = ("(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
                f" SELECT i, {SPREAD.format(i='i')} AS h FROM n)")


def fill(file, rows):
    """Makes the file larger by so many rows of bley_status."""
    connection = sqlite3.connect(file)
    for pragma in ("synchronous = OFF", "temp_store = MEMORY", "cache_size = -500000", "wal_autocheckpoint = 100000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(f"INSERT INTO bley_status {COLUMNS} " + TUPLES.format(
        when="'2026-01-01 00:00:00.000000'", numbers=LITE_NUMBERS.format(rows=rows)))
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def growth(options):
    """Known tuples, looked up in bley_status each time, in databases of several sizes. Filled ones are kept in options.keep."""
    def start_filled(rows):
        def start(case):
            kept = os.path.join(options.keep or case.tmp, f"{rows}.db")
            conf = conf_of(case, cache_valid=0)
            if os.path.exists(kept):
                shutil.copyfile(kept, case.database())
            else:
                case.run_program([bleytest.program("bleyctl"), "-c", conf, "init"])
                fill(case.database(), rows)
                if options.keep:
                    shutil.copyfile(case.database(), kept)
            return lasting(cache_valid=0)(case)
        return start
    sizes = [int(word) for word in options.rows.split()]
    rows = compare("known, cache off, in a database of so many rows",
                   [Server(f"{size:,}", start_filled(size)) for size in sizes], ("known",), options)
    show(rows)
    return rows


# --- how much room rows take

LOG_COLUMNS = ("(logtime, ip, sender, recipient, action, check_dnswl, check_dnsbl, check_helo, check_dyn, check_db, check_spf,"
               " check_s_eq_r, check_postmaster, check_cache)")
LOG_ROWS = ("SELECT {when}, '10.1.' || (i >> 8 & 255) || '.' || (i & 255), 'filler' || i || '@sender' || (i % 5000) || '.example',"
            " 'someone' || (i % 1000) || '@recipient.example', 'DUNNO', 0, 0, 0, 0, 0, 0, 0, 0, 1 FROM {numbers}")
CACHE_ROWS = "SELECT '10.' || (h >> 16 & 255) || '.' || (h >> 8 & 255) || '.' || (h & 255), 0, {when} FROM {numbers} ORDER BY 1"


def statements(when, numbers, before=""):
    return {
        "bley_status": f"{before}INSERT INTO bley_status {COLUMNS} " + TUPLES.format(when=when, numbers=numbers),
        "bley_log": f"{before}INSERT INTO bley_log {LOG_COLUMNS} " + LOG_ROWS.format(when=when, numbers=numbers),
        "bley_cache": f"{before}INSERT INTO bley_cache (ip, status, last_action) " + CACHE_ROWS.format(when=when, numbers=numbers),
    }


def sqlite_sizes(case, count):
    result = {}
    case.run_program([bleytest.program("bleyctl"), "-c", conf_of(case), "init"])
    for table, statement in statements("'2026-01-01 00:00:00.000000'", LITE_NUMBERS.format(rows=count)).items():
        before = os.path.getsize(case.database())
        connection = sqlite3.connect(case.database())
        connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        result[table] = (os.path.getsize(case.database()) - before) / count
    return result


def postgresql_sizes(case, count):
    server = servers.PostgreSQL(shared_buffers="256MB", max_wal_size="4GB")
    case.addCleanup(server.remove)
    keys = postgresql_keys(server)
    case.run_program([bleytest.program("bleyctl"), "-c", conf_of(case, **keys), "init"])
    numbers = f"(SELECT i, {SPREAD.format(i='i')} AS h FROM generate_series(1, {count}::bigint) AS i) AS n"
    for statement in statements("timestamp '2026-01-01'", numbers).values():
        server.sql(statement, keys["dbname"])
    return {table: int(server.sql(f"SELECT pg_total_relation_size('{table}')", keys["dbname"])) / count
            for table in ("bley_status", "bley_log", "bley_cache")}


def mariadb_sizes(case, count):
    server = servers.MariaDB("--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M", "--innodb-file-per-table=1")
    case.addCleanup(server.remove)
    keys = mariadb_keys(server)
    case.run_program([bleytest.program("bleyctl"), "-c", conf_of(case, **keys), "init"])
    numbers = f"(SELECT seq AS i, {SPREAD.format(i='seq')} AS h FROM seq_1_to_{count}) AS n"
    for statement in statements("'2026-01-01'", numbers, "SET sql_mode = 'PIPES_AS_CONCAT'; ").values():
        server.sql(statement, keys["dbname"])
    return {table: os.path.getsize(server.path("data", keys["dbname"], f"{table}.ibd")) / count
            for table in ("bley_status", "bley_log", "bley_cache")}


def sizes(options):
    result = {}
    print(f"\nbytes a row with its indexes, of {options.size_rows:,}\n{'':12}{'bley_status':>12}{'bley_log':>12}{'bley_cache':>12}")
    for name, measure in (("SQLite", sqlite_sizes), ("PostgreSQL", postgresql_sizes), ("MariaDB", mariadb_sizes)):
        case = Case()
        case.setUp()
        try:
            result[name] = measure(case, options.size_rows)
        finally:
            case.doCleanups()
        print(f"{name:12}" + "".join(f"{value:>12.0f}" for value in result[name].values()), flush=True)
    return result


PARTS = {
    "lasting": comparison(compare_lasting),
    "one-shot": comparison(compare_one_shot),
    "databases": comparison(compare_databases),
    "databases-warm": comparison(compare_databases_warm),
    "memory": memory,
    "lifetime": flatness,
    "growth": growth,
    "sizes": sizes,
}


def parse():
    env = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=env("ONLY", " ".join(PARTS)), help="parts, of: " + " ".join(PARTS))
    parser.add_argument("--peers", default=env("PEERS", ""), help="of: " + " ".join(PEERS))
    parser.add_argument("--against", default=env("AGAINST", ""), metavar="NAME=BUILD ...",
                        help="other builds of bley to run beside this one")
    parser.add_argument("--runs", type=int, default=int(env("RUNS", "5")))
    parser.add_argument("--requests", type=int, default=int(env("REQUESTS", "10000")), help="of a run")
    parser.add_argument("--rows", default=env("ROWS", "10000 1000000"), help="database sizes for `growth`")
    parser.add_argument("--keep", default=env("KEEP", ""), metavar="DIR", help="where filled databases are kept and found")
    parser.add_argument("--lifetime", type=int, default=int(env("LIFETIME", "1000000")), help="requests for `lifetime`")
    parser.add_argument("--size-rows", type=int, default=int(env("SIZE_ROWS", "1000000")), help="rows for `sizes`")
    parser.add_argument("--json", default=os.path.join(bleytest.BUILD, "bench.json"))
    options = parser.parse_args()
    options.peers = options.peers.split()
    options.against = [word.split("=", 1) for word in options.against.split()]
    for name, known in ((options.peers, PEERS), (options.only.split(), PARTS)):
        unknown = set(name) - set(known)
        if unknown:
            sys.exit(f"bench: no such thing: {' '.join(unknown)}; there are {' '.join(known)}")
    return options


def main():
    options = parse()
    result = {"runs": options.runs, "requests": options.requests, "cores": os.cpu_count(), "python": PYTHON}
    for name in options.only.split():
        result[name] = PARTS[name](options)
        with open(options.json, "w", encoding="utf-8") as stream:
            json.dump(result, stream, indent=1)
    print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
