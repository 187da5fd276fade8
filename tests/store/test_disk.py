# SPDX-License-Identifier: BSD-3-Clause
"""The disk is full in mid-traffic, and then has room again."""

import os
import re
import shutil
import threading
import time
import unittest

import bleytest
import servers

DEFER = "DEFER_IF_PERMIT greylisted, try again later"
TIMEOUT = 10
SLACK = 20  # this machine may be slow


class FullDisk(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        self.need_root()
        self.need("unshare", "nsenter")
        self.wrapper = []
        self.deferred, self.dunno, self.slowest, self.wrong = [], 0, 0, []
        self.end = threading.Event()

    def configure(self, **keys):
        conf = self.write_conf(cache_valid=0, db_timeout=TIMEOUT, **keys)
        os.chmod(conf, 0o600)
        self.assertEqual(self.run_program([*self.wrapper, bleytest.program("bleyctl"), "-c", conf, "init"]).returncode, 0)

    def talk(self, number):
        try:
            self.talk_on(number)
        except BaseException as error:  # told where the threads are waited for
            self.wrong.append(error)

    def talk_on(self, number):
        handler = self.handler(wrapper=self.wrapper)
        request = 0
        while not self.end.is_set():
            request += 1
            sender = f"{number}.{request}.{'x' * 150}@example.net"
            began = time.monotonic()
            answer = handler.ask_suspicious(sender=sender)
            self.slowest = max(self.slowest, time.monotonic() - began)
            if answer == DEFER:
                self.deferred.append(sender)
            else:
                self.assertEqual(answer, "DUNNO")
                self.dunno += 1

    def errors(self):
        return [line for line in self.log_lines() if "]: error: " in line]

    def go_on(self, count):
        """So many more are deferred."""
        before = len(self.deferred)
        self.wait_until(lambda: len(self.deferred) >= before + count, "decisions")

    def run_full(self, disk, senders):
        """Decided or let through, never late, and one clear line for each failure; nothing that was deferred is forgotten."""
        threads = [threading.Thread(target=self.talk, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            self.go_on(20)
            self.assertFalse(self.errors())
            disk.fill()
            self.wait_until(lambda: self.dunno >= 10, "what comes of a full disk")
            disk.make_room()
            self.go_on(20)
        finally:
            self.end.set()
            for thread in threads:
                thread.join()
        if self.wrong:
            raise self.wrong[0]
        self.assertLess(self.slowest, TIMEOUT + SLACK)
        self.assertFalse([line for line in self.errors() if not re.search("room", line)])
        self.assertTrue(self.errors())
        self.assertFalse(set(self.deferred) - set(senders()))

    def test_sqlite(self):
        disk = servers.Disk(self.path("db"), "32M")  # what the traffic itself takes must leave room again
        self.addCleanup(disk.remove)
        self.wrapper = disk.command
        self.configure()

        def senders():
            copy = shutil.copytree(disk.folder, self.path("copy"))
            return [sender for (sender,) in self.rows("SELECT sender FROM bley_status", database=os.path.join(copy, "bley.db"))]
        self.run_full(disk, senders)

    def run_server(self, server, **keys):
        self.addCleanup(server.remove)
        name = server.database()
        self.configure(dbhost=server.host, dbport=server.port, dbname=name, **keys)
        self.run_full(server.disk, lambda: server.sql("SELECT sender FROM bley_status", name).split())

    def test_postgresql(self):
        if not servers.PostgreSQL.programs():
            self.need("initdb")
        self.run_server(servers.PostgreSQL(disk_size="128M", synchronous_commit="on"), dbtype="pgsql")

    def test_mariadb(self):
        self.need("mariadbd", "mariadb-install-db")
        self.run_server(servers.MariaDB(disk_size="256M"), dbtype="mysql")


if __name__ == "__main__":
    unittest.main()
