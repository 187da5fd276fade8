# SPDX-License-Identifier: BSD-3-Clause
"""bley as a program: its options, the names in its configuration, and when it writes its log rows."""

import os
import subprocess
import time
import unittest

import bleytest

DEFER = "DEFER_IF_PERMIT greylisted, try again later"


class Options(bleytest.TestCase):
    def bley(self, *args):
        done = self.run_program([bleytest.program("bley"), *args])
        return done.returncode, done.stdout, done.stderr

    def test_version(self):
        for option in ("-V", "--version"):
            status, out, err = self.bley(option)
            self.assertEqual((status, err), (0, ""))
            self.assertRegex(out, r"^bley \d+\.\d+\S*\n$")

    def test_help(self):
        for option in ("-h", "--help"):
            status, out, err = self.bley(option)
            self.assertEqual((status, err), (0, ""))
            self.assertTrue(out.startswith("Usage: bley "), out)
            for name in ("--config", "--debug", "--verbose", "--version", "--help"):
                self.assertIn(name, out)

    def test_options_that_are_none(self):
        for args in (["-x"], ["--nonsense"], ["surplus"], ["-c"]):
            status, out, err = self.bley(*args)
            self.assertEqual((status, out), (2, ""), args)
            self.assertNotEqual(err, "", args)

    def test_long_names(self):
        self.write_conf()
        handler = self.handler(self.path("bley.conf"), args=["--debug", "--verbose"])
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.finish(), 0)
        self.assertIn("decided action=DEFER_IF_PERMIT", handler.errors())


class Names(bleytest.TestCase):
    def test_relative_names_are_relative_to_the_configuration(self):
        self.write("whitelist_recipients", "b@example.org\n")
        self.write_conf(dbpath="db", log_file="log", whitelist_recipients_file="./whitelist_recipients",
                        whitelist_clients_file=None)
        self.write("whitelist_clients", "203.0.113.77\n")
        handler = self.handler(cwd="/")
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.ask_suspicious(recipient="b@example.org"), "DUNNO")
        self.assertEqual(handler.ask_suspicious(client_address="203.0.113.77"), "DUNNO")
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(len(self.rows("SELECT * FROM bley_status")), 1)
        self.wait_for_log("decided action=DEFER_IF_PERMIT")

    def test_a_configuration_with_a_relative_name(self):
        self.write_conf(dbpath="db", log_file="log")
        handler = self.handler("bley.conf", cwd=self.tmp)
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(len(self.rows("SELECT * FROM bley_status")), 1)
        self.wait_for_log("decided action=DEFER_IF_PERMIT")

    def test_the_folder_of_the_database_is_made(self):
        self.write_conf(dbpath=self.path("new"))
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(os.stat(self.path("new")).st_mode & 0o7777, 0o750)
        self.assertEqual(os.stat(self.path("new", "bley.db")).st_mode & 0o7777, 0o640)


class LogRows(bleytest.TestCase):
    def test_they_are_written_while_nobody_asks(self):
        self.write_conf()
        handler = self.handler()
        self.assertEqual(handler.ask(), "DUNNO")
        self.wait_until(lambda: self.rows("SELECT action FROM bley_log") == [("DUNNO",)], "the row")
        self.assertIsNone(handler.process.poll())

    def test_they_are_written_while_requests_keep_coming(self):
        """Gathered, but not for longer than a second."""
        self.write_conf(cache_valid=0)
        handler = self.handler()
        start = time.monotonic()
        count = 0
        while not (count and self.rows("SELECT 1 FROM bley_log LIMIT 1")):
            self.assertLess(time.monotonic() - start, bleytest.PATIENCE)
            for _ in range(5):
                self.assertEqual(handler.ask(), "DUNNO")
                count += 1
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(self.rows("SELECT count(*) FROM bley_log"), [(count,)])

    def test_their_time_is_that_of_the_decision(self):
        self.write_conf()
        before = time.time()
        handler = self.handler()
        handler.send(b"".join(bleytest.suspicious(sender=f"{n}@example.net") for n in range(100)))
        for _ in range(100):
            handler.answer()
        self.assertEqual(handler.finish(), 0)
        times = [moment for moment, in self.rows("SELECT strftime('%s', logtime) FROM bley_log ORDER BY rowid")]
        self.assertEqual(len(times), 100)
        self.assertEqual(times, sorted(times))
        self.assertGreaterEqual(int(times[0]), int(before) - 1)
        self.assertLessEqual(int(times[-1]), time.time() + 1)

    def test_an_answer_does_not_wait_for_its_row(self):
        """Somebody holds the database: a whitelisted mail is answered at once all the same."""
        self.write_conf()
        handler = self.handler()
        self.assertEqual(handler.ask(), "DUNNO")
        self.wait_until(lambda: self.rows("SELECT action FROM bley_log"), "the row")
        locker = subprocess.Popen(
            ["python3", "-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
             "c.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.read(); c.execute('ROLLBACK')",
             self.database()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(bleytest.stop, locker)
        locker.stdout.readline()
        self.assertEqual(handler.ask_suspicious(recipient="postmaster@example.org"), "DUNNO")
        self.assertEqual(len(self.rows("SELECT action FROM bley_log")), 1)
        locker.stdin.close()
        locker.wait(bleytest.PATIENCE)
        self.wait_until(lambda: len(self.rows("SELECT action FROM bley_log")) == 2, "the second row")
        self.assertEqual(handler.finish(), 0)


if __name__ == "__main__":
    unittest.main()
