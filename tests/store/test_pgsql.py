# SPDX-License-Identifier: BSD-3-Clause
"""The PostgreSQL driver: the conformance cases, and what is this engine's own. test_servers.py has what is common to servers."""

import concurrent.futures
import os
import socket
import subprocess
import threading
import time
import unittest

import bleytest
import servers
import storetest


def setUpModule():
    if not servers.PostgreSQL.programs():
        bleytest.TestCase().need("initdb")
    Engine.server = servers.PostgreSQL()


def tearDownModule():
    Engine.server.remove()


class Engine(storetest.ServerEngine):
    type = "pgsql"

    def fresh(self, test):
        self.name = self.server.database()
        # the Python daemon wrote the server's local time
        self.server.sql(f"ALTER DATABASE {self.name} SET timezone = 'Europe/Berlin'", "postgres")
        return {"BLEY_STORE_HOST": self.server.host, "BLEY_STORE_PORT": str(self.server.port), "BLEY_STORE_NAME": self.name}

    def move(self, table, us):
        column = "logtime" if table == "bley_log" else "last_action"
        self.sql(f"UPDATE {table} SET {column} = {column} - {us} * interval '1 microsecond'")

    def age(self, table, column, where):
        [(text,)] = self.rows(f"SELECT (extract(epoch FROM (clock_timestamp() AT TIME ZONE 'UTC') - {column})"
                              f" * 1000000)::bigint FROM {table} WHERE {where}")
        return int(text)

    def times(self, table, column, order):
        return [text for (text,) in self.rows(
            f"SELECT to_char({column}, 'YYYY-MM-DD HH24:MI:SS.US') FROM {table} ORDER BY {order}")]

    def python(self):
        with open(os.path.join(storetest.HERE, "python.sql"), encoding="utf-8") as stream:
            self.server.sql("SET ROLE bley;\n" + stream.read(), self.name)


class Conformance(storetest.cases_for(Engine)):
    pass


DEFER = "DEFER_IF_PERMIT greylisted, try again later"
# longer than db_timeout by all that a busy machine may add
AT_MOST = 20


class PostgreSQLCase(bleytest.TestCase):
    """bley on a new database of a server."""

    def setUp(self):
        super().setUp()
        self.server = Engine.server
        self.name = self.server.database()

    def conf(self, **keys):
        return self.write_conf(**{
            "dbtype": "pgsql", "dbhost": self.server.host, "dbport": self.server.port, "dbname": self.name, "dbpath": None,
            "cache_valid": 0, "db_timeout": 10, **keys})

    def query(self, sql, server=None):
        return [tuple(line.split("\t")) for line in (server or self.server).sql(sql, self.name).splitlines()]

    def backends(self):
        return [int(pid) for (pid,) in self.query(
            f"SELECT pid FROM pg_stat_activity WHERE application_name = 'bley' AND datname = '{self.name}'")]

    def faults(self):
        return [line for line in self.log_lines() if "]: error: " in line or "]: warning: " in line]

    def assert_back(self, handler, recipient="back@example.org"):
        self.wait_until(lambda: handler.ask_suspicious(recipient=recipient) == DEFER, "the database to be used again")

    def assert_passes(self, handler, *patterns, **changes):
        """Nothing but the log tells that the database is of no use."""
        start = time.monotonic()
        self.assertEqual(handler.ask_suspicious(**changes), "DUNNO")
        self.assertLess(time.monotonic() - start, AT_MOST)
        for pattern in patterns:
            self.wait_for_log(pattern)


class Faults(PostgreSQLCase):
    def test_lock_held_too_long(self):
        conf = self.conf(db_timeout=4)
        self.assertEqual(self.bleyctl("init").returncode, 0)
        handler = self.handler(conf)
        self.assertEqual(handler.ask_suspicious(), DEFER)
        holder = self.start([os.path.join(self.server.bin, "psql"), "-X", "-h", self.server.host, "-p", str(self.server.port),
                             "-U", "postgres", "-d", self.name], stdin=subprocess.PIPE, text=True)
        holder.stdin.write("BEGIN; LOCK TABLE bley_status;\n")
        holder.stdin.flush()
        self.wait_until(lambda: self.query("SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted"
                                           " AND relation = 'bley_status'::regclass"), "the lock")
        for _ in range(2):
            self.assert_passes(handler, "error: ")
        # no connection is left behind waiting
        self.wait_until(lambda: len(self.backends()) <= 1, "the server to give up, too")
        holder.stdin.close()
        self.assert_back(handler)

    def test_password_file(self):
        self.server.ask_password(self.name)
        file = self.write("pgpass", f"127.0.0.1:*:{self.name}:bley:bley\n", 0o600)
        handler = self.handler(self.conf(dbhost="127.0.0.1", dbpass=""), env={**os.environ, "PGPASSFILE": file})
        self.assertEqual(handler.ask_suspicious(), DEFER)

    def test_service(self):
        file = self.write("service", f"[mail]\nhost={self.server.host}\nport={self.server.port}\n")
        handler = self.handler(self.conf(dbhost="", dbport=0),
                               env={**os.environ, "PGSERVICEFILE": file, "PGSERVICE": "mail"})
        self.assertEqual(handler.ask_suspicious(), DEFER)

    def test_socket_file(self):
        socket_file = os.path.join(self.server.host, f".s.PGSQL.{self.server.port}")
        self.assertEqual(self.handler(self.conf(dbhost=socket_file, dbport=0)).ask_suspicious(), DEFER)

    def test_a_host_that_answers_nothing(self):
        """The other one has its share of the time."""
        with socket.socket() as silent:
            silent.bind(("127.0.0.3", self.server.port))
            silent.listen()
            handler = self.handler(self.conf(dbhost="127.0.0.3,127.0.0.1", db_timeout=6))
            self.assertEqual(handler.ask_suspicious(), DEFER)

    def test_no_such_user(self):
        self.assert_passes(self.handler(self.conf(dbuser="nobody17")), "error: .*nobody17.*check dbuser")

    def test_no_tls(self):
        handler = self.handler(self.conf(dbhost="127.0.0.1", dbtls="require"))
        self.assert_passes(handler, "error: .*SSL.*check dbtls")

    def test_no_rights(self):
        self.assertEqual(self.handler(self.conf()).ask_suspicious(), DEFER)
        self.query("CREATE ROLE other LOGIN")
        self.addCleanup(self.query, "DROP ROLE other")
        self.assert_passes(self.handler(self.conf(dbuser="other")), "error: .*permission denied.*grant dbuser")

    def test_looking_makes_nothing(self):
        self.conf()
        self.bleyctl("why", "203.0.113.7", "a@example.net", "b@example.org")
        self.assertEqual(self.query("SELECT relname FROM pg_class WHERE relname LIKE 'bley%'"), [])

    def test_init_at_once(self):
        """The Python daemon's tables, taken over by several at once; what others have made of them stays."""
        engine = Engine()
        engine.name = self.name
        engine.python()
        self.query("CREATE VIEW mine AS SELECT sender FROM bley_status; CREATE ROLE graph;"
                   "GRANT SELECT ON bley_status TO graph")
        self.addCleanup(self.query, "DROP OWNED BY graph; DROP ROLE graph")
        self.conf()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            done = list(pool.map(lambda _: self.bleyctl("init"), range(8)))
        self.assertEqual([(one.returncode, one.stderr) for one in done], [(0, "")] * 8)
        self.assertEqual(self.query("SELECT count(*) FROM mine"), [("6",)])
        self.assertEqual(self.query("SELECT has_table_privilege('graph', 'bley_status', 'SELECT')"), [("t",)])
        self.assertEqual(self.query("SELECT version FROM bley_schema"), [("1",)])


class Standby(PostgreSQLCase):
    """A hot standby, promoted in mid-traffic. Both are in dbhost, on one port of two addresses."""

    def setUp(self):
        bleytest.TestCase.setUp(self)
        self.server = servers.PostgreSQL()
        self.addCleanup(self.server.remove)
        self.name = self.server.database()
        self.conf(dbhost="127.0.0.2,127.0.0.1", db_timeout=5)
        self.assertEqual(self.handler(self.conf()).ask_suspicious(), DEFER)
        self.standby = servers.PostgreSQL(copy_of=self.server, port=self.server.port, listen_addresses="127.0.0.2")
        self.addCleanup(self.standby.remove)

    def traffic(self, handler, number, stop):
        """Answers by recipient, until told to stop."""
        answers = {}
        while not stop.is_set():
            recipient = f"r{len(answers)}.{number}@example.org"
            start = time.monotonic()
            answers[recipient] = handler.ask_suspicious(recipient=recipient)
            if time.monotonic() - start > AT_MOST:
                raise AssertionError(f"{recipient} was answered after {time.monotonic() - start} s")
        return answers

    def through(self, disturb, handlers=4):
        """Traffic while disturb() does its work, and until all is well again; every answer."""
        stop = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(handlers) as pool:
            started = [self.handler() for _ in range(handlers)]
            runs = [pool.submit(self.traffic, handler, number, stop) for number, handler in enumerate(started)]
            try:
                disturb()
            finally:
                stop.set()
            answers = {}
            for run in runs:
                answers.update(run.result())
        for number, handler in enumerate(started):
            self.assert_back(handler, f"after.{number}@example.org")
        self.assertLessEqual(set(answers.values()), {DEFER, "DUNNO"})
        return answers

    def rows_are(self, count, server=None):
        return lambda: int(self.query("SELECT count(*) FROM bley_status", server)[0][0]) >= count

    def assert_accounted(self, answers, server=None):
        """Who was deferred is known; who passed was let pass by a failure that is in the log."""
        known = {recipient for (recipient,) in self.query("SELECT recipient FROM bley_status", server)}
        deferred = {recipient for recipient, answer in answers.items() if answer == DEFER}
        self.assertEqual(deferred - known, set())
        self.assertGreater(len(deferred), 50)
        if len(deferred) < len(answers):
            self.assertNotEqual(self.faults(), [])

    def test_promoted(self):
        alone = self.handler(self.conf(dbhost=self.standby.host))
        self.assert_passes(alone, "error: .*read-only.*bley needs the primary", recipient="new@example.org")
        self.conf(dbhost="127.0.0.2,127.0.0.1", db_timeout=5)

        def disturb():
            self.wait_until(self.rows_are(100), "traffic")
            self.server.stop()  # which first sends the standby all it has
            self.standby.promote()
            self.wait_until(self.rows_are(200, self.standby), "traffic")

        self.assert_accounted(self.through(disturb), self.standby)
        self.assert_back(alone)


if __name__ == "__main__":
    unittest.main()
