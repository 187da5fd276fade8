# SPDX-License-Identifier: BSD-3-Clause
"""The database is killed, frozen, slow, locked or read-only in mid-traffic, one after the other, and well again each time.

(A full disk: tests/store/test_disk.py.)
"""

import os
import signal
import sqlite3
import time
import unittest

import bleytest
import servers
import supervise
from traffic import FaultCase, Traffic

TIMEOUT = 1
THREADS = 4
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


class Servers:
    """The kind gives: make(), keys(), processes(), read_only(whether)."""

    KINDS = 8  # of errors that a process may meet here

    def setUp(self):
        super().setUp()
        self.server = self.make()
        self.addCleanup(self.server.remove)
        self.name = self.server.database()
        self.proxy = servers.Proxy(self.server.port)
        self.addCleanup(self.proxy.close)
        os.chmod(self.configure(dbhost="127.0.0.1", dbport=self.proxy.port, dbname=self.name, dbuser="bley", dbpass="bley", dbtls="off",
                                db_timeout=TIMEOUT, **self.keys()), 0o600)
        self.assertEqual(self.bleyctl("init").returncode, 0)

    def test_in_mid_traffic(self):
        traffic = Traffic(self, self.handler, threads=THREADS)
        traffic.wait_for_health()

        self.server.stop(signal.SIGKILL)
        traffic.wait_for({"failed": 20})
        self.server.start()
        traffic.wait_for_health()

        pids = self.processes()
        self.freeze(*pids)
        traffic.wait_for({"failed": THREADS})
        self.thaw(*pids)
        traffic.wait_for_health()

        self.proxy.pause = 0.05
        traffic.wait_for_health()
        self.proxy.pause = 2 * TIMEOUT
        traffic.wait_for({"failed": THREADS})
        self.proxy.pause = 0
        traffic.wait_for_health()

        self.read_only(True)
        traffic.wait_for({"failed": 20})
        self.read_only(False)
        traffic.wait_for_health()

        # to recall, and to remember, by a connection that is opened anew; and rows of the log before
        traffic.finish(4 * TIMEOUT)
        stored = set(self.server.sql("SELECT sender FROM bley_status WHERE status = 2", self.name).split())
        self.assertEqual(traffic.deferred - stored, set())
        self.wait_for_log("more like it within")
        self.assert_told("127.0.0.1", 2 * self.KINDS * THREADS)


class PostgreSQL(Servers, FaultCase):
    def make(self):
        if not servers.PostgreSQL.programs():
            self.need("initdb")
        return servers.PostgreSQL(synchronous_commit="on")

    def keys(self):
        return {"dbtype": "pgsql"}

    def processes(self):
        return [self.server.process.pid, *supervise.children(self.server.process.pid)]

    def read_only(self, whether):
        self.server.sql(f"SET default_transaction_read_only = off; ALTER DATABASE {self.name} SET default_transaction_read_only = "
                        f"{'on' if whether else 'off'}", self.name)
        self.server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bley'", self.name)


class MariaDB(Servers, FaultCase):
    def make(self):
        self.need("mariadbd", "mariadb-install-db")
        return servers.MariaDB("--innodb-flush-log-at-trx-commit=2")

    def keys(self):
        return {"dbtype": "mysql"}

    def processes(self):
        return [self.server.process.pid]

    def read_only(self, whether):
        self.server.sql(f"SET GLOBAL read_only = {int(whether)}")


class SQLite(FaultCase):
    def setUp(self):
        super().setUp()
        self.configure(db_timeout=TIMEOUT)

    def hold(self, connection):
        connection.execute("BEGIN IMMEDIATE")

    def test_locked_in_mid_traffic(self):
        """For a moment again and again, and for longer than anybody waits."""
        self.assertEqual(self.bleyctl("init").returncode, 0)
        traffic = Traffic(self, self.handler, threads=THREADS)
        traffic.wait_for_health()
        locker = sqlite3.connect(self.database(), timeout=bleytest.PATIENCE, isolation_level=None)
        self.addCleanup(locker.close)
        for _ in range(20):
            self.hold(locker)
            asked = traffic.asked
            time.sleep(0.02)  # slow is what it is to be
            locker.execute("ROLLBACK")
            self.wait_until(lambda asked=asked: traffic.asked > asked or traffic.wrong, "traffic")
        traffic.wait_for_health()
        self.hold(locker)
        traffic.wait_for({"failed": THREADS})
        locker.execute("ROLLBACK")
        traffic.wait_for_health()
        traffic.finish(2 * TIMEOUT)  # rows of the log wait, too, before the next request is read
        self.assert_told("locked by another process", 2 * THREADS)
        self.assert_remembered(traffic)

    def test_read_only_in_mid_traffic(self):
        self.need_root()
        self.need("setpriv")
        supervise.give_to_nobody(self)
        bley = bleytest.bley_for_all(self)
        traffic = Traffic(self, lambda: self.handler(wrapper=AS_NOBODY, bley=bley), threads=THREADS, renew=5)
        traffic.wait_for_health()
        os.chmod(self.path("db"), 0o555)
        for name in os.listdir(self.path("db")):
            os.chown(self.path("db", name), 0, 0)
        traffic.wait_for({"failed": 20})
        os.chmod(self.path("db"), 0o755)
        for name in os.listdir(self.path("db")):
            os.chown(self.path("db", name), 65534, 65534)
        traffic.wait_for_health()
        traffic.finish(2 * TIMEOUT)
        # in the middle of something it is an I/O error
        self.assert_told("user id 65534|disk I/O error", 2 * traffic.failed)
        self.assert_remembered(traffic)


if __name__ == "__main__":
    unittest.main()
