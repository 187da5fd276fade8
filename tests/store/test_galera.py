# SPDX-License-Identifier: BSD-3-Clause
"""Two nodes of a Galera cluster, handlers on each: who loses a conflict of writes is told so, and tries again."""

import os
import subprocess
import time
import unittest

import bleytest
import servers
import storetest

DEFER = "DEFER_IF_PERMIT greylisted, try again later"


class Galera(bleytest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        bleytest.TestCase().need("mariadbd", "mariadb-install-db", "rsync")
        if not os.path.exists(servers.GaleraNode.PROVIDER):
            bleytest.TestCase().need("galera-4")
        cls.nodes = [servers.GaleraNode(1)]
        cls.nodes.append(servers.GaleraNode(2, cls.nodes))

    @classmethod
    def tearDownClass(cls):
        for node in reversed(cls.nodes):
            node.remove()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.name = self.nodes[0].database()
        self.confs = []
        for number, node in enumerate(self.nodes):
            conf = self.write_conf(f"bley{number}.conf", cache_valid=0, dbtype="mysql", dbhost=node.host, dbname=self.name,
                                   dbuser="bley", dbpass="bley", db_timeout=20)
            os.chmod(conf, 0o600)
            self.confs.append(conf)

    def sql(self, statement, node=0):
        return self.nodes[node].sql("SET SESSION wsrep_sync_wait = 15; " + statement, self.name)

    def handlers(self, count):
        """So many on each node."""
        return [self.handler(conf=conf) for conf in self.confs for _ in range(count)]

    def faults(self):
        return [line for line in self.log_lines() if "]: error: " in line]

    def test_both_make_the_tables(self):
        for handler in (handlers := self.handlers(2)):
            handler.send(bleytest.suspicious())
        self.assertEqual([handler.answer() for handler in handlers], [DEFER] * len(handlers))
        for node in range(2):
            self.assertEqual(self.sql("SELECT count(*) FROM bley_status", node).strip(), "1")

    def test_the_same_new_tuple_on_both(self):
        self.assertEqual(self.bleyctl("init", conf=self.confs[0]).returncode, 0)
        handlers = self.handlers(4)
        for number in range(20):
            for handler in handlers:
                handler.send(bleytest.suspicious(sender=f"{number}@example.net"))
            self.assertEqual([handler.answer() for handler in handlers], [DEFER] * len(handlers))
        for node in range(2):
            self.assertEqual(self.sql("SELECT count(*) FROM bley_status", node).strip(), "20")
        self.assertFalse(self.faults())

    def test_no_failure_is_lost(self):
        """Both nodes count attempts of one tuple at the same time: certification lets only one of two through."""
        self.assertEqual(self.bleyctl("init", conf=self.confs[0]).returncode, 0)
        self.assertEqual(self.handler(conf=self.confs[0]).ask_suspicious(), DEFER)
        self.assertEqual(self.sql("SELECT fail_count FROM bley_status", 1).strip(), "0")

        def talk(handler):
            for _ in range(25):
                self.assertEqual(handler.ask_suspicious(), DEFER)

        bleytest.in_threads(talk, [(handler,) for handler in self.handlers(2)])
        for node in range(2):
            self.assertEqual(self.sql("SELECT fail_count FROM bley_status", node).strip(), "100")
        self.assertFalse(self.faults())

    def test_no_failure_is_lost_where_clients_are_remembered(self):
        """Likewise, and each time the client is remembered, too: not by the procedure, which could stop the cluster."""
        self.assertEqual(self.bleyctl("init", conf=self.confs[0]).returncode, 0)
        self.sql("DROP PROCEDURE bley_remember")
        self.assertNotIn("procedure", self.bleyctl("check", conf=self.confs[1]).stdout)
        self.assertEqual(self.bleyctl("init", conf=self.confs[0]).returncode, 0)
        self.assertIn("bley_remember", self.sql("SHOW PROCEDURE STATUS WHERE db = database()"))

        class Engine:
            type = "mysql"

        def talk(node):
            drive = storetest.Drive(Engine, {"BLEY_STORE_HOST": node.host, "BLEY_STORE_NAME": self.name})
            self.addCleanup(drive.stop)
            self.assertEqual(drive.do("open"), "ok ")
            for _ in range(25):
                self.assertEqual(drive.do("again a@example.net"), "ok 2")

        bleytest.in_threads(talk, [(node,) for node in self.nodes for _ in range(2)])
        for node in range(2):
            self.assertEqual(self.sql("SELECT fail_count FROM bley_status", node).strip(), "100")
            self.assertEqual(self.sql("SELECT status FROM bley_cache", node).strip(), "2")
            self.assertEqual(self.sql("SHOW GLOBAL STATUS LIKE 'Com_call_procedure'", node).strip(), "Com_call_procedure\t0")

    def test_forget_in_traffic(self):
        """Rows that a handler on the other node changes all the while are forgotten nevertheless."""
        self.assertEqual(self.bleyctl("init", conf=self.confs[0]).returncode, 0)
        handler, done = self.handler(conf=self.confs[0]), []

        def traffic():
            while not done:
                self.assertEqual(handler.ask_suspicious(), DEFER)

        def forget():
            try:
                for _ in range(20):
                    told = self.bleyctl("forget", "--yes", bleytest.SUSPICIOUS["client_address"], conf=self.confs[1])
                    self.assertEqual(told.returncode, 0, told.stderr)
            finally:
                done.append(True)

        bleytest.in_threads(lambda do: do(), [(traffic,), (forget,)])
        self.assertFalse(self.faults())

    def seconds_until_dunno(self, handler):
        began = time.monotonic()
        self.assertEqual(handler.ask_suspicious(), "DUNNO")
        return time.monotonic() - began

    def test_a_node_that_is_not_ready(self):
        """It takes connections, but no statement: a decision waits for it as long as db_timeout, those behind not at all."""
        self.assertEqual(self.bleyctl("init", conf=self.confs[0]).returncode, 0)
        conf = self.write_conf("short.conf", cache_valid=0, dbtype="mysql", dbhost=self.nodes[1].host, dbname=self.name,
                               dbuser="bley", dbpass="bley", db_timeout=5)
        os.chmod(conf, 0o600)
        handler = self.handler(conf=conf)
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.nodes[1].sql("SET GLOBAL wsrep_reject_queries = ALL")
        try:
            self.assertEqual(handler.ask_suspicious(), "DUNNO")
            self.wait_until(lambda: self.seconds_until_dunno(handler) < 1, "an answer without waiting")
        finally:
            self.nodes[1].sql("SET GLOBAL wsrep_reject_queries = NONE")
        self.assertTrue(all("not yet prepared" in line for line in self.faults()) and self.faults(), self.faults())
        self.wait_until(lambda: handler.ask_suspicious(sender="behind@example.net") == DEFER, "a decision")

    def test_a_second_purge_steps_aside(self):
        """A lock is a node's own: a row tells the other node of the purge."""
        self.assertEqual(self.bleyctl("init", conf=self.confs[0]).returncode, 0)
        self.sql("INSERT INTO bley_status (ip, sender, recipient, status, last_action) VALUES ('192.0.2.1', 'a', 'b', 0,"
                 " '2020-01-01')")
        holder = self.start(["mariadb", "--no-defaults", "-uroot", "-S", self.nodes[0].host, "-N", "-B", "-n", self.name],
                            log="holder.out", stdin=subprocess.PIPE, text=True)
        holder.stdin.write("BEGIN; UPDATE bley_status SET fail_count = 1; SELECT 'held';\n")
        holder.stdin.flush()
        self.wait_for_log("held", "holder.out")
        purge = self.start([bleytest.program("bleyctl"), "-c", self.confs[0], "purge"])
        self.wait_until(lambda: "bley_purge" in self.sql("SHOW TABLES", 1) and
                        self.sql("SELECT server FROM bley_purge", 1), "the purge's row")
        self.assertIn("another purge", self.bleyctl("purge", conf=self.confs[1]).stdout)
        bleytest.stop(holder)
        self.assertEqual(purge.wait(bleytest.PATIENCE), 0)
        for node in range(2):
            self.assertEqual(self.sql("SELECT count(*) FROM bley_status", node).strip(), "0")
        self.assertNotIn("another purge", self.bleyctl("purge", conf=self.confs[1]).stdout)
        self.sql("INSERT INTO bley_purge VALUES (1, 'a server that is no more', UTC_TIMESTAMP() - INTERVAL 1 SECOND)")
        self.assertNotIn("another purge", self.bleyctl("purge", conf=self.confs[1]).stdout)


if __name__ == "__main__":
    unittest.main()
