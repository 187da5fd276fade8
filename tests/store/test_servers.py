# SPDX-License-Identifier: BSD-3-Clause
"""The real handler with a database server behind it, and what it does when that server is not as it should be."""

import os
import re
import signal
import subprocess
import threading
import unittest

import bleytest
import servers

DEFER = "DEFER_IF_PERMIT greylisted, try again later"
RIGHTS = {"SELECT", "INSERT", "UPDATE", "DELETE"}
BLEY = {"dbuser": "bley", "dbpass": "s3cret"}


class ServerCase:
    """What holds on every server. The kind gives: make(), keys(), sql(), lock(), kill_connections(), and for a take-over python(),
    which makes the Python daemon's tables with so many rows more in each or in these, tables(), connections() and is_taken_over(),
    whether one is at work."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.make()

    @classmethod
    def tearDownClass(cls):
        cls.server.remove()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.name = self.server.database()
        self.configure()

    def configure(self, **keys):
        path = self.write_conf(**{"cache_valid": 0, "db_timeout": 30, "dbname": self.name, **BLEY, **self.keys(), **keys})
        os.chmod(path, 0o600)
        return path

    def query(self, statement):
        return self.server.sql(statement, self.name)

    def faults(self):
        return [line for line in self.log_lines() if "]: error: " in line or "]: warning: " in line]

    def wait_for_decisions(self, handler):
        """The fault is mended: the handler decides again, without a hand."""
        count = iter(range(10 ** 6))
        self.wait_until(lambda: handler.ask_suspicious(sender=f"w{next(count)}@example.net") == DEFER, "a decision")

    def assert_flows(self, handler, pattern):
        self.assertEqual(handler.ask_suspicious(sender="flows@example.net"), "DUNNO")
        self.wait_for_log("error: .*" + pattern)
        self.assertFalse([line for line in self.log_lines() if BLEY["dbpass"] in line])

    def test_greylisting(self):
        self.configure(cache_valid=60)
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.ask_suspicious(), DEFER + " (cached result)")
        self.pass_time(1800)
        self.assertRegex(handler.ask_suspicious(), "^PREPEND X-Greylist: delayed 18[0-9][0-9] seconds")
        self.assertEqual(handler.ask(sender="gr\u00fc\u00df@example.net", recipient="\u4f60@example.org"), "DUNNO")
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(self.query("SELECT sender, recipient, status, fail_count FROM bley_status WHERE status = 0"
                                    " ORDER BY ip").splitlines()[0],
                         "gr\u00fc\u00df@example.net\t\u4f60@example.org\t0\t0")
        self.assertEqual(self.query("SELECT count(*) FROM bley_log").strip(), "4")
        self.assertFalse(self.faults())

    def test_stopped_and_started(self):
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.server.stop()
        self.assert_flows(handler, "")
        self.assertEqual(self.handler().ask_suspicious(), "DUNNO")
        self.server.start()
        self.wait_for_decisions(handler)

    def test_restarted_under_an_idle_handler(self):
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.wait_until(lambda: self.query("SELECT count(*) FROM bley_log").strip() == "1", "the log row")
        self.server.stop()
        self.server.start()
        self.assertEqual(handler.ask_suspicious(sender="2@example.net"), DEFER, self.faults())
        self.assertFalse(self.faults())

    def test_a_connection_that_is_killed(self):
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.kill_connections()
        self.assertEqual(handler.ask_suspicious(sender="2@example.net"), DEFER)
        self.assertFalse(self.faults())

    def impatient(self):
        """A handler that waits for seconds only, and the tables it asks."""
        self.assertEqual(self.bleyctl("init").returncode, 0)
        self.configure(db_timeout=4)
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        return handler

    def test_frozen(self):
        handler = self.impatient()
        self.freeze(*self.processes())
        self.assert_flows(handler, "")
        self.thaw(*self.processes())
        self.wait_for_decisions(handler)

    def test_locked(self):
        handler = self.impatient()
        holder = self.lock()
        self.assert_flows(handler, "")
        bleytest.stop(holder)
        self.wait_for_decisions(handler)

    def test_wrong_password(self):
        self.configure(dbpass="wr0ng", **self.with_password())
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), "DUNNO")
        self.wait_for_log("error: .*dbpass")
        self.assertFalse([line for line in self.log_lines() if "wr0ng" in line])
        self.configure(**self.with_password())
        self.wait_for_decisions(self.handler())

    def test_no_such_database(self):
        self.configure(dbname="nothere")
        self.assert_flows(self.handler(), "nothere")

    def test_no_server(self):
        port = bleytest.free_port()
        self.configure(dbhost="127.0.0.1", dbport=port, failure_action="DEFER_IF_PERMIT broken")
        handler = self.handler()
        for _ in range(3):
            self.assertEqual(handler.ask_suspicious(), "DEFER_IF_PERMIT broken")
        self.wait_for_log(f"error: .*127.0.0.1, port {port}: ")

    def test_fifty_see_the_same_new_tuple(self):
        self.handler().ask()  # makes the tables
        handlers = [self.handler() for _ in range(50)]
        for handler in handlers:
            handler.send(bleytest.suspicious(sender="same@example.net"))
        self.assertEqual([handler.answer() for handler in handlers], [DEFER] * 50)
        self.assertEqual(self.query("SELECT count(*) FROM bley_status WHERE sender = 'same@example.net'").strip(), "1")
        for handler in handlers:
            handler.send(bleytest.suspicious(sender="same@example.net"))
        self.assertEqual([handler.answer() for handler in handlers], [DEFER] * 50)
        counted = int(self.query("SELECT fail_count FROM bley_status WHERE sender = 'same@example.net'"))
        self.assertGreaterEqual(counted, 50)  # and one for each that came late in the first round
        self.assertLess(counted, 100)
        self.assertFalse(self.faults())

    def test_killed_in_mid_traffic(self):
        """No deferral that was answered is forgotten, none is wrong, nobody hangs."""
        self.handler().ask()
        answered, wrong = set(), []

        def talk(number):
            try:
                handler = self.handler()
                for request in range(60):
                    sender = f"{number}.{request}@example.net"
                    answer = handler.ask_suspicious(sender=sender)
                    if answer == DEFER:
                        answered.add(sender)
                    elif answer != "DUNNO":
                        raise AssertionError(answer)
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        self.wait_until(lambda: len(answered) > 40, "traffic")
        self.server.stop(signal.SIGKILL)
        self.server.start()
        for thread in threads:
            thread.join()
        if wrong:
            raise wrong[0]
        stored = set(self.query("SELECT sender FROM bley_status WHERE status = 2").split())
        self.assertFalse(answered - stored)

    def test_init_and_purge(self):
        first = self.bleyctl("init")
        self.assertEqual(first.returncode, 0, first.stderr)
        self.assertEqual(self.bleyctl("init").returncode, 0)
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        handler.finish()
        self.pass_time(11 * 86400)
        self.assertEqual(self.bleyctl("purge", "--dry-run").returncode, 0)
        self.assertEqual(self.query("SELECT count(*) FROM bley_status").strip(), "1")
        self.assertEqual(self.bleyctl("purge").returncode, 0)
        self.assertEqual(self.query("SELECT count(*) FROM bley_status").strip(), "0")

    TABLES = {"bley_cache", "bley_log", "bley_schema", "bley_status"}

    def test_small_tables_are_taken_over_while_mail_waits(self):
        self.python(5000)
        handlers = [self.handler() for _ in range(4)]
        for handler in handlers:
            handler.send(bleytest.suspicious())
        self.assertEqual([handler.answer() for handler in handlers], [DEFER] * 4)
        self.assertEqual(self.query("SELECT count(*) FROM bley_status").strip(), "5007")
        self.assertEqual(self.tables(), self.TABLES)
        self.assertFalse(self.faults())

    def test_large_tables_are_not(self):
        """Nor does a try do harm; and while init is at it nothing in the server goes on waiting for handlers that have left."""
        for part in "bley_status", "bley_log":
            with self.subTest(part):
                self.name = self.server.database()
                self.configure(db_timeout=4)
                self.python(20000, part)
                for handler in (handlers := [self.handler() for _ in range(3)]):
                    self.assertEqual(handler.ask_suspicious(), "DUNNO")
                    self.wait_for_log(f"error: .*database {self.name}: the Python daemon's tables are too large to be taken"
                                      " over while mail waits: run 'bleyctl init'")
                self.assertEqual([line for line in self.faults() if self.name in line and "too large" not in line], [])
                self.assertEqual(self.tables(), {"bley_log", "bley_status"})
                holder = self.lock("bley_log")
                process = self.start([bleytest.program("bleyctl"), "-c", self.path("bley.conf"), "init"])
                self.wait_until(self.is_taken_over, "init at work")
                for handler in (late := [self.handler() for _ in range(2)]):
                    handler.send(bleytest.suspicious())
                self.assertEqual([handler.answer() for handler in late], ["DUNNO"] * 2)
                for handler in handlers + late:
                    handler.half_close()
                for handler in handlers + late:
                    self.assertEqual(handler.wait(), 0)
                self.assertIn("another process", self.faults()[-1])
                self.wait_until(lambda: self.connections() == 1, "only init's connection")
                bleytest.stop(holder)
                self.assertEqual(process.wait(bleytest.PATIENCE), 0)
                self.assertEqual(self.tables(), self.TABLES)
                self.assertGreaterEqual(int(self.query(f"SELECT count(*) FROM {part}")), 20000)
                self.wait_for_decisions(self.handler())

    def trips_of(self, handler, proxy, **changes):
        """The round trips of a decision before its answer, and of its log row after it."""
        rows = int(self.query("SELECT count(*) FROM bley_log"))
        before = proxy.trips
        answer = handler.ask_suspicious(**changes)
        self.wait_until(lambda: int(self.query("SELECT count(*) FROM bley_log")) == rows + 1, "the log row")
        return answer.split()[0], proxy.trips - before - 1

    def assert_round_trips(self, remember=1):
        """Once the statements are prepared: one to recall, and so many to remember a tuple and its client."""
        proxy = servers.Proxy(self.server.port)
        self.addCleanup(proxy.close)
        self.bleyctl("init")
        self.configure(**{**self.with_password(), "cache_valid": 60, "dbtls": "off", "dbport": proxy.port, "db_timeout": "60s"})
        handler = self.handler()
        for client in ("203.0.113.2", "203.0.113.1"):
            for wait in (0, 61, 7200, 61):  # new, too early, passes, known: each statement has been used twice
                self.pass_time(wait)
                self.trips_of(handler, proxy, client_address=client, sender="0@example.net")
        self.pass_time(61)
        both = 1 + remember
        self.assertEqual(self.trips_of(handler, proxy, client_address="203.0.113.1", sender="0@example.net"), ("DUNNO", both))
        self.assertEqual(self.trips_of(handler, proxy, client_address="203.0.113.1", sender="new@example.net"), ("DUNNO", 1))
        self.assertEqual(self.trips_of(handler, proxy, client_address="203.0.113.4"), ("DEFER_IF_PERMIT", both))
        self.assertEqual(self.trips_of(handler, proxy, client_address="203.0.113.4"), ("DEFER_IF_PERMIT", 1))
        self.pass_time(61)
        self.assertEqual(self.trips_of(handler, proxy, client_address="203.0.113.4"), ("DEFER_IF_PERMIT", both))

    def test_round_trips(self):
        self.assert_round_trips()

    def assert_lacks(self, rights):
        """What bleyctl check says of the database, once these rights on its tables are all there are."""
        for table, given in rights.items():
            self.grant(given, table)
        line = next(line for line in self.bleyctl("check").stdout.splitlines() if line.startswith("database: "))
        missing = [f"{right} on {table}" for table, all_rights in
                   (("bley_status", RIGHTS), ("bley_cache", RIGHTS), ("bley_log", RIGHTS - {"UPDATE"}))
                   for right in all_rights - set(rights[table].split(", "))]
        self.assertEqual(sorted(re.findall(r"lacks the right (\S+ on \w+)", line)), sorted(missing))
        self.assertTrue(line.startswith("database: WRONG, " if missing else "database: ok, "), line)

    def test_rights(self):
        self.assertEqual(self.bleyctl("init").returncode, 0)
        self.assertIn("database: ok, ", self.bleyctl("check").stdout)
        self.take_rights()
        self.grant("SELECT", "bley_schema")
        self.assert_lacks({"bley_status": "SELECT, INSERT, UPDATE", "bley_cache": "SELECT, DELETE", "bley_log": "INSERT, SELECT"})
        every = ", ".join(RIGHTS)
        self.assert_lacks({"bley_status": every, "bley_cache": every, "bley_log": "SELECT, INSERT, DELETE"})

    def test_a_newer_schema(self):
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.query("UPDATE bley_schema SET version = 99")
        self.kill_connections()
        for each in (self.handler(), handler):
            self.assert_flows(each, "version 99")
            self.assertEqual(each.ask_suspicious(), "DUNNO")  # nor is it forgotten with the next request
        self.query("UPDATE bley_schema SET version = 1")
        self.wait_for_decisions(handler)



class PostgreSQL(ServerCase, bleytest.TestCase):
    @classmethod
    def make(cls):
        if not servers.PostgreSQL.programs():
            bleytest.TestCase().need("initdb")
        server = servers.PostgreSQL(synchronous_commit="on", log_line_prefix="%d ")
        server.sql("ALTER ROLE bley PASSWORD 's3cret'", "postgres")
        return server

    def keys(self):
        return {"dbtype": "pgsql", "dbhost": self.server.host, "dbport": self.server.port}

    def with_password(self):
        with open(self.server.path("data", "pg_hba.conf"), "w", encoding="ascii") as stream:
            stream.write("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        self.server.sql("SELECT pg_reload_conf()", "postgres")
        return {"dbhost": "127.0.0.1"}

    def pass_time(self, seconds):
        for table in ("bley_status", "bley_cache"):
            self.query(f"UPDATE {table} SET last_action = last_action - {seconds} * interval '1 second'")

    def python(self, rows, *tables):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "python.sql"), encoding="utf-8") as stream:
            self.query("SET ROLE bley;\n" + stream.read())
        if "bley_log" not in tables:
            self.query("INSERT INTO bley_status SELECT '192.0.2.9', 0, now(), n, 'r@example.org', 0"
                       f" FROM generate_series(1, {rows}) n")
        if "bley_status" not in tables:
            self.query("INSERT INTO bley_log SELECT now(), '192.0.2.9', n, 'r@example.org', 'DUNNO'"
                       f" FROM generate_series(1, {rows}) n")

    def test_a_take_over_without_plpgsql(self):
        """Where it is not to be had, addresses stay as they are spelled."""
        self.python(1)
        self.query("DROP EXTENSION plpgsql; INSERT INTO bley_status SELECT '2001:DB8::1', 0, now(), 's', 'r', 0")
        result = self.bleyctl("init")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.query("SELECT ip FROM bley_status WHERE sender = 's'"), "2001:db8::1\n")
        self.assertEqual(self.query("SELECT count(*) FROM pg_proc WHERE proname LIKE 'bley%'"), "0\n")

    def tables(self):
        return set(self.query("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'bley%'").split())

    def connections(self):
        return int(self.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bley'"
                              f" AND datname = '{self.name}'"))

    def is_taken_over(self):
        return self.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted") != ""

    def take_rights(self):
        self.query("ALTER TABLE bley_schema OWNER TO postgres; ALTER TABLE bley_status OWNER TO postgres;"
                   "ALTER TABLE bley_cache OWNER TO postgres; ALTER TABLE bley_log OWNER TO postgres;"
                   "GRANT SELECT ON bley_schema TO bley")

    def grant(self, rights, table):
        self.query(f"GRANT {rights} ON {table} TO bley")

    def kill_connections(self):
        self.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bley'"
                   f" AND datname = '{self.name}'")

    def processes(self):
        """The server and the processes that it has made for its connections."""
        pid = self.server.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as stream:
            return [pid, *map(int, stream.read().split())]

    def lock(self, table="bley_status"):
        """A process that holds the table until it is stopped."""
        process = subprocess.Popen(
            [os.path.join(self.server.bin, "psql"), "-X", "-q", "-A", "-t", "-h", self.server.host, "-p", str(self.server.port),
             "-U", "postgres", "-d", self.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(bleytest.stop, process)
        process.stdin.write(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT 'held';\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), "held\n")
        return process

    def test_an_encoding_that_has_not_all(self):
        self.name = self.server.database("ENCODING 'LATIN1' LOCALE 'C'")
        self.configure()
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(sender="gr\u00fc\u00df-\u4f60@example.net"), DEFER)
        self.assertEqual(handler.ask_suspicious(sender="gr\u00fc\u00df@example.net"), DEFER)
        self.assertEqual(self.query("SELECT sender FROM bley_status ORDER BY sender").split(),
                         ["gr??-?@example.net", "gr\u00fc\u00df@example.net"])
        self.assertFalse(self.faults())

    def test_a_read_only_server(self):
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.query(f"ALTER DATABASE {self.name} SET default_transaction_read_only = on")
        self.kill_connections()
        self.assert_flows(handler, "read-only")
        self.assertRegex(self.bleyctl("check").stdout, "database: WRONG, .*read-only")
        self.query(f"SET default_transaction_read_only = off; ALTER DATABASE {self.name} RESET default_transaction_read_only")
        self.wait_for_decisions(handler)

    def test_a_standby_that_is_promoted(self):
        """The handler asks what is a standby first, and is its primary's from then on."""
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        standby = servers.PostgreSQL(copy_of=self.server)
        self.addCleanup(standby.remove)
        self.configure(dbhost=standby.host, dbport=standby.port)
        second = self.handler()
        self.wait_until(lambda: "bley_status" in standby.sql("SELECT relname FROM pg_class WHERE relname = 'bley_status'",
                                                             self.name), "the standby's copy")
        self.assert_flows(second, "read-only")
        standby.command("pg_ctl", "-D", standby.path("data"), "-w", "promote")
        self.wait_for_decisions(second)
        self.assertIn("w", standby.sql("SELECT sender FROM bley_status", self.name))

    def statements(self):
        """What bley has asked and decided on this database since this was first called, by name; "<unnamed>": not prepared."""
        self.query(f"ALTER DATABASE {self.name} SET log_statement = 'all'")
        with open(self.server.path("log"), encoding="utf-8", errors="replace") as stream:
            return re.findall(rf"{self.name} .*execute ([^:]+): (?:SELECT|WITH)", stream.read())

    def test_statements_are_prepared(self):
        """When they run for the second time over a connection, and anew over the next one."""
        self.bleyctl("init")
        self.statements()
        handler = self.handler()
        self.assertEqual([handler.ask_suspicious(sender=f"{n}@example.net") for n in range(4)], [DEFER] * 4)
        handler.finish()
        first = self.statements()
        self.assertEqual(len([name for name in first if name.startswith("bley_")]), 6, first)
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(self.statements()[len(first):].count("<unnamed>"), 3)
        self.kill_connections()
        self.wait_for_decisions(handler)
        self.assertEqual([handler.ask_suspicious(sender=f"b{n}@example.net") for n in range(3)], [DEFER] * 3)
        self.assertTrue(self.statements()[-1].startswith("bley_"))
        self.query("ALTER TABLE bley_status ALTER status TYPE int")
        self.assertEqual([handler.ask_suspicious(sender=f"c{n}@example.net") for n in range(3)], [DEFER] * 3)
        self.assertEqual(set(self.statements()[-4:]), {"<unnamed>"})
        self.assertFalse(self.faults())

    def test_a_plan_that_is_kept_suits_a_table_that_grows(self):
        """One that was small when its rows were counted is not read as a whole from then on."""
        self.bleyctl("init")
        self.query("INSERT INTO bley_status SELECT '192.0.2.' || n, 0, now(), 's', 'r', 0 FROM generate_series(1, 60) n")
        self.query("ANALYZE bley_status")
        scans = "SELECT coalesce(seq_scan, 0), coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'bley_status'"
        before = [int(count) for count in self.query(scans).replace("|", " ").split()]
        handler = self.handler()
        self.assertEqual([handler.ask_suspicious(sender=f"{n}@example.net") for n in range(20)], [DEFER] * 20)
        handler.finish()

        def counted():
            whole, by_index = (int(count) - old for count, old in zip(self.query(scans).replace("|", " ").split(), before))
            return (whole, by_index) if by_index >= 19 else None
        self.assertLessEqual(self.wait_until(counted, "the server's counts")[0], 5)

    def test_pgbouncer(self):
        """A pooler in transaction mode: each statement may meet another connection."""
        program = self.need("pgbouncer")
        port = bleytest.free_port()
        conf = self.write("pgbouncer.ini", f"""[databases]
* = host={self.server.host} port={self.server.port} user=bley
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
logfile = {self.write("pgbouncer.log", "", 0o666)}
pidfile =
""")
        process = self.start([*servers.as_user("postgres"), program, conf])
        self.wait_for_port(port, process=process)
        self.configure(dbhost="127.0.0.1", dbport=port)
        self.statements()
        handlers = [self.handler() for _ in range(8)]
        for request in range(10):
            for number, handler in enumerate(handlers):
                handler.send(bleytest.suspicious(sender=f"{number}.{request}@example.net"))
            self.assertEqual([handler.answer() for handler in handlers], [DEFER] * len(handlers))
        self.assertEqual(self.query("SELECT count(*) FROM bley_status").strip(), "80")
        self.assertEqual(set(self.statements()), {"<unnamed>"})
        self.assertEqual(self.bleyctl("purge").returncode, 0)
        self.assertFalse(self.faults())


class MariaDB(ServerCase, bleytest.TestCase):
    @classmethod
    def make(cls):
        bleytest.TestCase().need("mariadbd", "mariadb-install-db")
        server = servers.MariaDB("--innodb-flush-log-at-trx-commit=2")
        server.sql("ALTER USER bley IDENTIFIED BY 's3cret', bley@localhost IDENTIFIED BY 's3cret'")
        return server

    def keys(self):
        return {"dbtype": "mysql", "dbhost": self.server.host}

    def with_password(self):
        return {"dbhost": "127.0.0.1", "dbport": self.server.port}

    def pass_time(self, seconds):
        for table in ("bley_status", "bley_cache"):
            self.query(f"UPDATE {table} SET last_action = last_action - INTERVAL {seconds} SECOND")

    def take_rights(self):
        self.query("REVOKE ALL, GRANT OPTION FROM bley@localhost; REVOKE ALL, GRANT OPTION FROM bley")

    def grant(self, rights, table):
        self.query(f"GRANT {rights} ON {self.name}.{table} TO bley@localhost")

    def kill_connections(self):
        for pid in self.query("SELECT id FROM information_schema.processlist WHERE user = 'bley'"
                              f" AND db = '{self.name}'").split():
            self.query(f"KILL CONNECTION {pid}")

    def processes(self):
        return [self.server.process.pid]

    def hold(self, statements):
        process = subprocess.Popen(
            ["mariadb", "--no-defaults", "-uroot", "-S", self.server.host, "-N", "-B", "-n", self.name], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        self.addCleanup(bleytest.stop, process)
        process.stdin.write(f"{statements}; SELECT 'held';\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), "held\n")
        return process

    def python(self, rows, *tables):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "python_mysql.sql"), encoding="utf-8") as stream:
            self.query(stream.read())
        if "bley_log" not in tables:
            self.query(f"INSERT INTO bley_status SELECT '192.0.2.9', 0, NOW(), seq, 'r@example.org', 0 FROM seq_1_to_{rows}")
        if "bley_status" not in tables:
            self.query("INSERT INTO bley_log (logtime, ip, sender, recipient, action)"
                       f" SELECT NOW(), '192.0.2.9', seq, 'r@example.org', 'DUNNO' FROM seq_1_to_{rows}")

    def tables(self):
        return set(self.query("SHOW TABLES").split())

    def connections(self):
        return int(self.query(f"SELECT count(*) FROM information_schema.processlist WHERE user = 'bley' AND db = '{self.name}'"))

    def is_taken_over(self):
        return self.query(f"SELECT IS_USED_LOCK('bley.{self.name}')").strip() != "\\N"

    def lock(self, table="bley_status"):
        return self.hold(f"LOCK TABLES {table} WRITE")

    def test_a_bad_clients_verdict_fails(self):
        """Where it is a statement of its own: what the tuple has come to is answered and logged all the same."""
        self.assertEqual(self.bleyctl("init").returncode, 0)
        self.configure(cache_valid=60, db_timeout=4)
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.query("DROP PROCEDURE bley_remember")
        self.pass_time(61)
        holder = self.hold("BEGIN; UPDATE bley_cache SET status = 2")
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.ask_suspicious(sender="other@example.net"), DEFER)
        bleytest.stop(holder)
        handler.close()
        self.wait_until(lambda: self.query("SELECT count(*) FROM bley_log").strip() == "3", "log rows")
        self.assertEqual(self.query("SELECT count(*), max(fail_count) FROM bley_status").split(), ["2", "1"])
        self.assertFalse(self.faults())

    def test_without_the_procedure(self):
        """A database made before there was one, or by a user who may not make it: two round trips, until init makes it."""
        self.assertEqual(self.bleyctl("init").returncode, 0)
        self.assertNotIn("procedure", self.bleyctl("check").stdout)
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.query(f"DROP PROCEDURE bley_remember; REVOKE CREATE ROUTINE ON {self.name}.* FROM bley@localhost, bley")
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(self.bleyctl("init").returncode, 0)
        self.assertRegex(self.bleyctl("check").stdout, "database: ok, .*bley_remember: .*bleyctl init")
        self.assert_round_trips(remember=2)
        self.configure()
        self.query(f"GRANT ALL ON {self.name}.* TO bley@localhost, bley")
        self.assertEqual(self.bleyctl("init").returncode, 0)
        self.assertNotIn("procedure", self.bleyctl("check").stdout)
        self.query("DELETE FROM bley_status; DELETE FROM bley_cache")
        self.assert_round_trips()
        self.configure()
        self.query(f"REVOKE EXECUTE ON {self.name}.* FROM bley@localhost, bley")
        self.assertEqual(self.handler().ask_suspicious(sender="4@example.net"), DEFER)
        self.assertFalse(self.faults())

    def test_init_is_killed_in_mid_take_over(self):
        """The Python daemon's tables are whole, and the next one begins anew and leaves nothing behind."""
        self.python(2000, "bley_status")
        holder = self.lock("bley_log")
        process = self.start([bleytest.program("bleyctl"), "-c", self.path("bley.conf"), "init"])
        self.wait_until(lambda: "bley_log_new_" in self.query("SHOW TABLES"), "the second of the tables")
        process.kill()
        process.wait()
        bleytest.stop(holder)
        self.assertIn("bley_status_new_", self.query("SHOW TABLES"))
        self.query("CREATE TABLE bley_status_2020 AS SELECT * FROM bley_status")
        left = {table for table in self.tables() if "_new_" in table}
        holder = self.lock("bley_log")
        process = self.start([bleytest.program("bleyctl"), "-c", self.path("bley.conf"), "init"])
        self.wait_until(lambda: "bley_log_new_" in self.query("SHOW TABLES") and not left & self.tables(),
                        "what was left behind to be gone")
        bleytest.stop(holder)
        self.assertEqual(process.wait(bleytest.PATIENCE), 0)
        self.assertEqual(self.query("SHOW TABLES").split(),
                         ["bley_cache", "bley_log", "bley_schema", "bley_status", "bley_status_2020"])
        self.assertEqual(self.query("SELECT count(*) FROM bley_status").strip(), "2006")
        self.assertEqual(self.query("SELECT count(*) FROM bley_log").strip(), "4")
        self.query("CREATE TABLE bley_status_new_f00_old AS SELECT 1")  # killed after all was in place
        self.assertEqual(self.bleyctl("init").returncode, 0)
        self.assertNotIn("new", self.query("SHOW TABLES"))

    def rows_read(self):
        return sum(int(line.split()[1]) for line in self.query("SHOW GLOBAL STATUS LIKE 'Handler_read%'").splitlines())

    def test_purge_passes_each_row_of_a_client_once(self):
        """Twice, in truth: to find where the batch ends, and to delete. Not all of the client's for each batch."""
        self.assertEqual(self.bleyctl("init").returncode, 0)
        self.query("INSERT INTO bley_status (ip, sender, recipient, status, last_action) SELECT '192.0.2.1', seq DIV 100, seq, 0,"
                   " IF(seq % 2, UTC_TIMESTAMP(), '2020-01-01') FROM seq_1_to_40000")
        self.query("INSERT INTO bley_cache (ip, status, last_action) SELECT seq, 0,"
                   " IF(seq % 2, UTC_TIMESTAMP() + INTERVAL 1 HOUR, '2020-01-01') FROM seq_1_to_40000")
        before = self.rows_read()
        self.assertEqual(self.bleyctl("purge").returncode, 0)
        self.assertLess(self.rows_read() - before, 4 * 80000)
        for table in ("bley_status", "bley_cache"):
            self.assertEqual(self.query(f"SELECT count(*) FROM {table}").strip(), "20000")

    def test_a_socket_directory(self):
        os.symlink(self.server.host, self.path("mysqld.sock"))
        self.configure(dbhost=self.tmp)
        self.assertEqual(self.handler().ask_suspicious(), DEFER)

    def test_tls_that_the_server_lacks(self):
        self.configure(dbtls="prefer")
        self.assertEqual(self.handler().ask_suspicious(), DEFER)
        self.configure(dbtls="require", **self.with_password())
        self.assert_flows(self.handler(), "(SSL|TLS)")

    def test_an_option_file_with_another_encoding(self):
        with open(self.path(".my.cnf"), "w", encoding="ascii") as stream:
            stream.write("[client]\ndefault-character-set = latin1\n")
        handler = self.handler(env={**os.environ, "HOME": self.tmp})
        self.assertEqual(handler.ask_suspicious(sender="gr\u00fc\u00df@example.net"), DEFER)
        self.assertEqual(self.query("SELECT hex(sender) FROM bley_status").strip(),
                         "gr\u00fc\u00df@example.net".encode().hex().upper())

    def test_looking_makes_nothing(self):
        self.bleyctl("why", "203.0.113.7", "a@example.net", "b@example.org")
        self.assertEqual(self.query("SHOW TABLES"), "")

    def test_a_read_only_server(self):
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.query("SET GLOBAL read_only = 1")
        try:
            self.assert_flows(handler, "read-only|read_only|written")
            self.assertIn("database: WRONG", self.bleyctl("check").stdout)
        finally:
            self.query("SET GLOBAL read_only = 0")
        self.wait_for_decisions(handler)


if __name__ == "__main__":
    unittest.main()
