# SPDX-License-Identifier: BSD-3-Clause
"""What can go wrong, does: in all of it the mail flows, and the log names what to mend."""

import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import unittest

import bleytest

DEFER = "DEFER_IF_PERMIT greylisted, try again later"
REQUEST_MOST = 65536
ATTRIBUTES_MOST = 256
ENDURED = 6  # seconds of work on expressions that have no end: far more than with our limits, less than with PCRE2's

AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


class FaultCase(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        self.write_conf(cache_valid=0)

    def faults(self):
        """The warnings and errors in the log."""
        return [line for line in self.log_lines() if "]: error: " in line or "]: warning: " in line]

    def assert_clean(self, handler):
        """The handler still does its work, and ends well."""
        self.assertEqual(handler.ask(recipient="clean@example.org"), "DUNNO")
        self.assertEqual(handler.ask_suspicious(recipient="clean@example.org"), DEFER)
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(handler.errors(), "")

    def statuses(self):
        return sorted(self.rows("SELECT ip, sender, recipient, status, fail_count FROM bley_status"))


class BadInput(FaultCase):
    def test_a_line_of_a_megabyte(self):
        handler = self.handler()
        handler.send(bleytest.request(sender=b"x" * (1 << 20)))
        self.assertEqual(handler.answer(), "DUNNO")
        self.wait_for_log(r"warning: .*more than 65536 bytes or 256 attributes")
        self.assert_clean(handler)
        self.assertEqual([row[2] for row in self.statuses()], ["clean@example.org"] * 2)

    def test_a_megabyte_without_a_line_end(self):
        handler = self.handler()
        handler.send(b"x" * (1 << 20))
        self.assertEqual(handler.finish(), 0)

    def test_a_megabyte_that_is_no_request(self):
        handler = self.handler()
        handler.send(b"x" * (1 << 20) + b"\n\n")
        self.assertEqual(handler.answer(), "DUNNO")
        self.assert_clean(handler)

    def test_a_megabyte_of_nul_bytes(self):
        handler = self.handler()
        handler.send(bleytest.request(helo_name=b"\0" * (1 << 20)))
        self.assertEqual(handler.answer(), "DUNNO")
        self.assert_clean(handler)

    def test_many_long_lines(self):
        handler = self.handler()
        handler.send(bleytest.request(**{f"x{n}": "y" * 4000 for n in range(100)}))
        self.assertEqual(handler.answer(), "DUNNO")
        self.assertEqual(len(self.faults()), 1)
        self.assert_clean(handler)

    def test_oversized_requests_one_after_the_other(self):
        handler = self.handler()
        for _ in range(3):
            handler.send(bleytest.request(sender=b"x" * (2 * REQUEST_MOST)))
            self.assertEqual(handler.answer(), "DUNNO")
        self.assert_clean(handler)

    def test_an_oversized_request_and_the_next_in_one_packet(self):
        handler = self.handler()
        handler.send(bleytest.request(sender=b"x" * REQUEST_MOST) + bleytest.suspicious())
        self.assertEqual(handler.answer(), "DUNNO")
        self.assertEqual(handler.answer(), DEFER)

    def sized(self, size):
        """A suspicious request of exactly so many bytes."""
        small = bleytest.suspicious(stress="")
        return bleytest.suspicious(stress="x" * (size - len(small)))

    def test_the_largest_request(self):
        handler = self.handler()
        handler.send(self.sized(REQUEST_MOST))
        self.assertEqual(handler.answer(), DEFER)
        handler.send(self.sized(REQUEST_MOST) * 3)
        for _ in range(3):
            self.assertEqual(handler.answer(), DEFER)
        self.assertEqual(self.faults(), [])

    def test_a_byte_more_than_the_largest_request(self):
        handler = self.handler()
        handler.send(self.sized(REQUEST_MOST + 1))
        self.assertEqual(handler.answer(), "DUNNO")
        self.assertEqual(len(self.faults()), 1)
        self.assert_clean(handler)

    def test_as_many_attributes_as_are_allowed(self):
        handler = self.handler()
        spare = ATTRIBUTES_MOST - len(bleytest.REQUEST)
        handler.send(bleytest.suspicious(**{f"x{n}": n for n in range(spare)}))
        self.assertEqual(handler.answer(), DEFER)

    def test_one_attribute_too_many(self):
        handler = self.handler()
        spare = ATTRIBUTES_MOST - len(bleytest.REQUEST)
        handler.send(bleytest.suspicious(**{f"x{n}": n for n in range(spare + 1)}))
        self.assertEqual(handler.answer(), "DUNNO")
        self.assertEqual(len(self.faults()), 1)
        self.assert_clean(handler)

    def test_a_request_byte_by_byte(self):
        handler = self.handler()
        for byte in bleytest.suspicious():
            handler.send(bytes([byte]))
        self.assertEqual(handler.answer(), DEFER)

    def test_noise(self):
        """Random bytes never stop it, and never reach another request."""
        handler = self.handler()
        dice = random.Random(4711)

        def send():
            for _ in range(200):
                noise = bytes(dice.choice((0, 10, 13, 32, 61, 128, 255, dice.randrange(256)))
                              for _ in range(dice.randrange(400)))
                # what the noise began is ended: it may be answered, then, with DUNNO
                handler.send(noise + b"\n\n" + bleytest.request(request="end"))
            handler.half_close()

        sender = threading.Thread(target=send)
        sender.start()
        answers = []
        while (answer := handler.recv()) != b"":
            answers.append(answer)
        sender.join()
        self.assertEqual(set(answers), {b"action=DUNNO"})
        self.assertGreaterEqual(len(answers), 200)
        self.assertEqual(handler.wait(), 0)
        self.assertFalse(os.path.exists(self.database()) and self.statuses())

    def test_thousands_of_requests_in_one_go(self):
        handler = self.handler()
        text = b"".join(bleytest.suspicious(sender=f"{n}@example.net") for n in range(2000))
        sender = threading.Thread(target=handler.send, args=(text,))
        sender.start()
        for _ in range(2000):
            self.assertEqual(handler.answer(), DEFER)
        sender.join()
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(self.rows("SELECT count(*) FROM bley_status"), [(2000,)])
        self.assertEqual(self.rows("SELECT count(*) FROM bley_log"), [(2000,)])


class DatabaseFaults(FaultCase):
    """The answer is DUNNO or failure_action, one error says why, and the connection lives on."""

    def assert_flows(self, pattern, conf=None, **options):
        handler = self.handler(conf, **options)
        self.assertEqual(handler.ask_suspicious(), "DUNNO")
        self.wait_for_log(r"\]: error: " + pattern)
        self.assertEqual(handler.ask(), "DUNNO")
        return handler

    def assert_heals(self, handler):
        """The same connection, once the fault is mended, decides again."""
        self.wait_until(lambda: handler.ask_suspicious() == DEFER, "a decision after the fault was mended")
        self.assertEqual(handler.ask(), "DUNNO")
        self.assertEqual(handler.finish(), 0)
        self.assertIn(("203.0.113.7", "spammer@example.net", "recipient@example.org", 2),
                      [row[:4] for row in self.statuses()])

    def test_no_such_folder(self):
        self.write_conf(cache_valid=0, dbpath=self.path("no", "such", "folder"))
        handler = self.assert_flows(rf"{self.path('no/such/folder')}: ")
        self.assertEqual(handler.finish(), 0)

    def test_the_folder_comes_later(self):
        os.rename(self.path("db"), self.path("away"))
        self.write("db", "a file where the folder is to be")
        handler = self.assert_flows(rf"{self.database()}: ")
        os.unlink(self.path("db"))
        os.rename(self.path("away"), self.path("db"))
        self.assert_heals(handler)

    def test_failure_action(self):
        self.write_conf(cache_valid=0, dbpath=self.path("no", "such", "folder"),
                        failure_action="DEFER_IF_PERMIT come back when we are well")
        handler = self.handler()
        for _ in range(2):
            self.assertEqual(handler.ask(), "DEFER_IF_PERMIT come back when we are well")
        self.assertEqual(handler.finish(), 0)

    def test_whitelists_need_no_database(self):
        self.write_conf(cache_valid=0, dbpath=self.path("no", "such", "folder"), failure_action="DEFER broken")
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(recipient="postmaster@example.org"), "DUNNO")
        self.assertEqual(handler.finish(), 0)

    def test_one_error_for_one_request(self):
        self.write_conf(cache_valid=0, dbpath=self.path("no", "such", "folder"))
        handler = self.handler()
        for _ in range(10):
            self.assertEqual(handler.ask_suspicious(), "DUNNO")
        self.assertEqual(handler.finish(), 0)
        self.assertIn(len(self.faults()), range(1, 11))

    def as_nobody(self):
        self.need("setpriv")
        self.need_root()
        self.write("log", "", 0o666)
        return {"wrapper": AS_NOBODY, "bley": bleytest.bley_for_all(self)}

    def test_a_database_that_may_not_be_written(self):
        handler = self.handler()
        handler.ask()
        handler.finish()
        options = self.as_nobody()
        os.chmod(self.database(), 0o444)
        os.chmod(self.path("db"), 0o755)
        handler = self.assert_flows(rf"{self.database()}: .*user id 65534", **options)
        self.assertEqual(handler.finish(), 0)

    def test_a_database_that_may_not_be_read(self):
        handler = self.handler()
        handler.ask()
        handler.finish()
        options = self.as_nobody()
        os.chmod(self.database(), 0o600)
        handler = self.assert_flows(rf"{self.database()}: .*user id 65534", **options)
        for name in [self.path("db"), *(self.path("db", file) for file in os.listdir(self.path("db")))]:
            os.chown(name, 65534, 65534)  # a write-ahead log may be left beside it
        self.assert_heals(handler)

    def test_a_folder_that_may_not_be_written(self):
        options = self.as_nobody()
        os.chmod(self.path("db"), 0o555)
        handler = self.assert_flows(rf"{self.database()}: .*user id 65534", **options)
        os.chown(self.path("db"), 65534, 65534)
        os.chmod(self.path("db"), 0o755)
        self.assert_heals(handler)

    def test_a_file_that_is_no_database(self):
        self.write("db/bley.db", "This is no database.\n" * 1000)
        handler = self.assert_flows(rf"{self.database()}: ")
        os.unlink(self.database())
        self.assert_heals(handler)

    def test_a_damaged_database(self):
        handler = self.handler()
        for n in range(200):
            handler.ask_suspicious(sender=f"{n}@example.net")
        handler.finish()
        with open(self.database(), "r+b") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(4096)
            stream.write(b"\xa5" * (size - 4096))
        handler = self.assert_flows(rf"{self.database()}: ")
        self.assertEqual(handler.finish(), 0)

    def test_a_database_cut_short(self):
        handler = self.handler()
        for n in range(200):
            handler.ask_suspicious(sender=f"{n}@example.net")
        handler.finish()
        os.truncate(self.database(), 4096)
        handler = self.assert_flows(rf"{self.database()}: ")
        self.assertEqual(handler.finish(), 0)

    def test_a_folder_in_the_databases_place(self):
        os.mkdir(self.database())
        handler = self.assert_flows(rf"{self.database()}: ")
        os.rmdir(self.database())
        self.assert_heals(handler)

    def test_an_empty_file_is_a_new_database(self):
        self.write("db/bley.db", "")
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(self.faults(), [])

    def test_a_table_that_is_gone(self):
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.wait_until(lambda: self.rows("SELECT * FROM bley_log"))
        self.execute("ALTER TABLE bley_status RENAME TO elsewhere")
        self.assertEqual(handler.ask_suspicious(), "DUNNO")
        self.wait_for_log(rf"\]: error: {self.database()}: .*bley_status")
        self.execute("ALTER TABLE elsewhere RENAME TO bley_status")
        self.assert_heals(handler)

    def lock(self):
        connection = sqlite3.connect(self.database(), isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute("BEGIN IMMEDIATE")
        return connection

    def test_locked_for_longer_than_db_timeout(self):
        self.write_conf(cache_valid=0, db_timeout=4)
        self.assertEqual(self.bleyctl("init").returncode, 0)
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.wait_until(lambda: self.rows("SELECT * FROM bley_log"))
        locker = self.lock()
        start = time.monotonic()
        self.assertEqual(handler.ask_suspicious(), "DUNNO")
        self.assertGreater(time.monotonic() - start, 3.9)
        self.wait_for_log(rf"\]: error: {self.database()}: locked by another process")
        locker.execute("ROLLBACK")
        self.assert_heals(handler)

    def test_locked_for_a_moment(self):
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.wait_until(lambda: self.rows("SELECT * FROM bley_log"))
        locker = self.lock()
        handler.send(bleytest.suspicious())
        with self.assertRaises(AssertionError):
            handler.answer(timeout=0.3)
        locker.execute("ROLLBACK")
        self.assertEqual(handler.answer(), DEFER)
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(self.faults(), [])
        self.assertEqual(self.statuses(), [("203.0.113.7", "spammer@example.net", "recipient@example.org", 2, 1)])

    def test_the_disk_is_full(self):
        self.need("unshare", "mount")
        self.need_root()
        if subprocess.run(["unshare", "-m", "true"], check=False, stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no mount namespaces here")
        self.write_conf(cache_valid=0, failure_action="DUNNO disk full")
        mount = 'mount -t tmpfs -o size=256k none "$0" && exec "$@"'
        handler = self.handler(wrapper=("unshare", "-m", "sh", "-c", mount, self.path("db")))
        text = {DEFER}
        for n in range(5000):
            answer = handler.ask_suspicious(sender=f"{n}@example.net")
            text.add(answer)
            if answer != DEFER:
                break
        self.assertEqual(text, {DEFER, "DUNNO disk full"})
        self.wait_for_log(rf"\]: error: {self.database()}: .*(no room|full)")
        self.assertEqual(handler.ask_suspicious(recipient="postmaster@example.org"), "DUNNO")
        self.assertEqual(handler.finish(), 0)


class ConfigurationFaults(FaultCase):
    def test_no_configuration(self):
        handler = self.handler(self.path("nowhere.conf"), args=["-d"])
        self.assertEqual(handler.ask_suspicious(), "DUNNO")
        self.assertEqual(handler.ask(), "DUNNO")
        self.assertEqual(handler.finish(), 0)
        self.assertIn(f"error: {self.path('nowhere.conf')}: ", handler.errors())
        self.assertEqual(os.listdir(self.path("db")), [])

    def test_a_folder_as_configuration(self):
        handler = self.handler(self.path("db"), args=["-d"])
        self.assertEqual(handler.ask_suspicious(), "DUNNO")
        self.assertEqual(handler.finish(), 0)
        self.assertIn(f"error: {self.path('db')}: ", handler.errors())

    def test_a_configuration_that_may_not_be_read(self):
        self.need("setpriv")
        self.need_root()
        os.chmod(self.path("bley.conf"), 0o600)
        handler = self.handler(args=["-d"], wrapper=AS_NOBODY, bley=bleytest.bley_for_all(self))
        self.assertEqual(handler.ask_suspicious(), "DUNNO")
        self.assertEqual(handler.finish(), 0)
        self.assertRegex(handler.errors(), rf"error: {self.path('bley.conf')}: .*[Pp]ermission")

    def test_noise_as_configuration(self):
        dice = random.Random(42)
        with open(self.path("bley.conf"), "ab") as stream:
            stream.write(bytes(dice.randrange(256) for _ in range(20000)) + b"\n")
        handler = self.handler()
        self.assertEqual(handler.ask(), "DUNNO")
        self.assertEqual(handler.finish(), 0)
        self.wait_for_log(rf"\]: (error|warning): {self.path('bley.conf')}:\d+: ")

    def test_a_bad_number(self):
        conf = self.write_conf(extra="greylist_period = many\n", cache_valid=0)
        with open(conf, encoding="utf-8") as stream:
            line = len(stream.readlines())
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(len(self.faults()), 1)
        self.assertRegex(self.faults()[0], rf"\]: error: {conf}:{line}: .*greylist_period")

    def test_all_mistakes_are_told(self):
        conf = self.write_conf(extra="greylist_period = many\nnonsense\nno_such_key = 1\n", cache_valid=0)
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.finish(), 0)
        with open(conf, encoding="utf-8") as stream:
            last = len(stream.readlines())
        for line in range(last - 2, last + 1):
            self.assertTrue(any(f"{conf}:{line}: " in fault for fault in self.faults()),
                            f"line {line} is not named in {self.faults()}")

    def test_a_dbtype_that_is_none(self):
        self.write_conf(cache_valid=0, dbtype="oracle")
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.finish(), 0)
        self.wait_for_log(r"\]: error: .*bley\.conf:\d+: .*dbtype")

    def test_expressions_without_end(self):
        """Each would take longer than the universe has, on the longest name that there is."""
        catastrophes = ("(a+)+$", "(a|aa)+$", "(.*)*(.*)*(.*)*q$", "^((a*)*)*q", "(?:(?:a?){50}){50}q",
                        "(?:a?){22}q", "^(\\w+\\s?)*q")
        entries = "".join(f"/{expression}/\n" for expression in catastrophes)
        self.write("whitelist_clients", entries)
        self.write("whitelist_recipients", "postmaster@\n" + entries)
        self.write_conf(cache_valid=0, static_names=catastrophes[0], dynamic_names=catastrophes[1])
        handler = self.handler()
        name = "a" * 240 + "!q!"
        for number in range(3):
            self.assertEqual(handler.ask(client_name=name, helo_name=name, recipient=f"{name}{number}@example.org"),
                             "DUNNO")
        with open(f"/proc/{handler.process.pid}/stat", encoding="ascii") as stream:
            work = int(stream.read().rpartition(")")[2].split()[11])  # in user mode
        self.assertLess(work / os.sysconf("SC_CLK_TCK"), ENDURED)
        self.assertEqual(handler.ask_suspicious(recipient="postmaster@example.org"), "DUNNO")
        self.assertEqual(handler.finish(), 0)
        told = [fault for fault in self.faults() if "too many steps" in fault]
        self.assertEqual(len(told), len(set(told)), "the log is flooded")
        for expression in catastrophes[:2]:
            self.assertTrue(any(f"/{expression}/: " in fault for fault in told), f"{expression} is not in {told}")
            self.assertTrue(any("_names: " in fault for fault in told), told)

    def test_an_expression_that_does_not_compile(self):
        self.write("whitelist_clients", "/broken(/\n")
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.ask(), "DUNNO")
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(len(self.faults()), 1)
        self.assertIn(f"warning: {self.path('whitelist_clients')}:1: ", self.faults()[0])

    def test_a_whitelist_full_of_rubbish(self):
        """A process tells the beginning only, of each file; bleyctl check tells all."""
        for name in ("clients", "recipients"):
            self.write("whitelist_" + name, "/broken(/\n192.0.2.999/\n" + "/(/\n@@\n" * 500)
        handler = self.handler()
        for _ in range(2):
            self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.finish(), 0)
        for name in ("clients", "recipients"):
            faults = [line for line in self.faults() if "whitelist_" + name in line]
            self.assertEqual(len(faults), 6, faults)
            self.assertIn("/whitelist_" + name + ": and more; 'bleyctl check' tells all", faults[5])
        self.assertEqual(len(self.faults()), 12)
        self.assertGreater(self.bleyctl("check").stderr.count("/whitelist_clients:"), 900)

    def test_a_failure_action_that_rejects_is_refused(self):
        for action in ("REJECT", "reject go away", "550 no", "DISCARD", "5.7.1 no"):
            self.write_conf(dbpath=self.path("no", "such", "folder"), failure_action=action)
            handler = self.handler()
            self.assertEqual(handler.ask(), "DUNNO")
            self.assertEqual(handler.finish(), 0)
        self.wait_for_log(r"\]: error: .*bley\.conf:\d+: .*failure_action")

    def test_a_whitelist_that_may_not_be_read(self):
        self.need("setpriv")
        self.need_root()
        self.write("log", "", 0o666)
        os.chown(self.path("db"), 65534, 65534)
        os.chmod(self.path("whitelist_recipients"), 0o600)
        handler = self.handler(wrapper=AS_NOBODY, bley=bleytest.bley_for_all(self))
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.ask_suspicious(recipient="postmaster@example.org"), "DUNNO")
        self.assertEqual(handler.finish(), 0)
        self.wait_for_log(rf"\]: warning: {self.path('whitelist_recipients')}: ")

    def test_a_log_file_that_cannot_be_written(self):
        self.write_conf(cache_valid=0, log_file=self.path("no", "such", "log"))
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(handler.errors(), "")
        self.assertEqual(len(self.statuses()), 1)

    def test_the_log_may_be_moved_away(self):
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.wait_for_log("decided action=DEFER_IF_PERMIT")
        os.rename(self.path("log"), self.path("log.1"))
        self.assertEqual(handler.ask(), "DUNNO")
        self.wait_for_log("decided action=DUNNO")
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(len(self.log_lines("log.1")), 1)

    def test_bad_options(self):
        done = self.run_program([bleytest.program("bley"), "--nonsense"])
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertNotEqual(done.stderr, "")
        done = self.run_program([bleytest.program("bley"), "surplus"])
        self.assertEqual((done.returncode, done.stdout), (2, ""))


class Modules(FaultCase):
    def test_one_that_is_missing_for_a_moment(self):
        """No expression matches, neither of a setting nor of a whitelist, until it is there."""
        program, module = self.copy_program(), self.path("program/modules/regex.so")
        self.write_conf(cache_valid=0, rfc_threshold=1)
        self.write("whitelist_clients", "/^trusted/\n")
        os.rename(module, self.path("away"))
        handler = self.handler(bley=program)

        def ask(name):
            return handler.ask(client_name=name, helo_name=name, sender=f"{time.monotonic()}@example.net")
        names = ("dsl.example.net", "trusted-dsl.example.net")
        self.assertEqual([ask(name) for name in names], ["DUNNO", "DUNNO"])
        self.wait_for_log("warning: dynamic_names: .*regex.so")
        os.rename(self.path("away"), module)
        self.assertEqual([ask(name) for name in names], [DEFER, "DUNNO"])
        handler.finish()
        self.assertEqual(self.rows("SELECT check_postmaster FROM bley_log"), [(0,), (0,), (0,), (1,)])


class Descriptors(FaultCase):
    """The socket as 0, 1 and 2, pipes, signals, and peers that go away."""

    def test_nothing_but_answers_where_standard_error_is_the_socket(self):
        """With everything in disorder that would be worth a message, and the log to standard error."""
        self.write("whitelist_clients", "/broken(/\n203.0.113.999\n")
        self.write_conf(extra="nonsense\nno_such_key = 1\ngreylist_period = soon\n", log_file="-",
                        dbpath=self.path("no", "such", "folder"), whitelist_recipients_file=self.path("missing"))
        handler = self.handler(stderr="socket", args=["-v"])
        for _ in range(3):
            handler.send(bleytest.suspicious() + bleytest.request() + bleytest.request(sender=None)
                         + bleytest.request(sender="x" * REQUEST_MOST))
            for _ in range(4):
                self.assertEqual(handler.recv(), b"action=DUNNO")
        handler.half_close()
        self.assertEqual(handler.recv(), b"")
        self.assertEqual(handler.wait(), 0)

    def test_debugging_does_not_write_to_the_socket_either(self):
        handler = self.handler(stderr="socket", args=["-d"])
        handler.send(bleytest.suspicious())
        self.assertEqual(handler.recv(), b"action=" + DEFER.encode())
        handler.half_close()
        self.assertEqual(handler.recv(), b"")

    def test_bad_options_do_not_write_to_the_socket(self):
        handler = self.handler(stderr="socket", args=["--nonsense"])
        self.assertEqual(handler.recv(), b"")
        self.assertEqual(handler.wait(), 2)

    def test_no_configuration_and_standard_error_is_the_socket(self):
        handler = self.handler(self.path("nowhere.conf"), stderr="socket")
        handler.send(bleytest.suspicious())
        self.assertEqual(handler.recv(), b"action=DUNNO")
        handler.half_close()
        self.assertEqual(handler.recv(), b"")
        self.assertEqual(handler.wait(), 0)

    def test_debugging_logs_to_standard_error(self):
        handler = self.handler(args=["-d"])
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.finish(), 0)
        self.assertIn("decided action=DEFER_IF_PERMIT", handler.errors())

    def test_pipes_will_do(self):
        done = subprocess.run([bleytest.program("bley"), *bleytest.ALLOW_ROOT, "-c", self.path("bley.conf")], check=False, timeout=bleytest.PATIENCE,
                              input=bleytest.suspicious() + bleytest.request(), capture_output=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (0, b"action=" + DEFER.encode() + b"\n\naction=DUNNO\n\n", b""))

    def test_no_standard_input_at_all(self):
        done = self.run_program(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', bleytest.program("bley"),
                                 *bleytest.ALLOW_ROOT, "-c", self.path("bley.conf")])
        self.assertIn(done.returncode, (0, 1))

    def test_standard_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([bleytest.program("bley"), *bleytest.ALLOW_ROOT, "-c", self.path("bley.conf")], check=False,
                                  input=bleytest.suspicious(), stdout=full, stderr=subprocess.PIPE, timeout=bleytest.PATIENCE)
        self.assertEqual((done.returncode, done.stderr), (1, b""))
        self.wait_for_log(r"\]: error: cannot write to the connection")

    def test_a_peer_that_leaves_without_reading(self):
        handler = self.handler()
        handler.send(bleytest.suspicious() * 50)
        handler.sock.close()
        self.assertEqual(handler.wait(), 0)
        self.assertEqual(handler.errors(), "")
        self.assertEqual(self.faults(), [])

    def test_a_peer_that_resets_the_connection(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
        process = self.start([bleytest.program("bley"), *bleytest.ALLOW_ROOT, "-c", self.path("bley.conf")], stdin=theirs, stdout=theirs)
        theirs.close()
        talk = bleytest.Conversation(ours)
        self.assertEqual(talk.ask_suspicious(), DEFER)
        ours.sendall(bleytest.suspicious() * 20)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        ours.close()
        self.assertEqual(process.wait(bleytest.PATIENCE), 0)
        self.assertEqual(self.faults(), [])

    def test_a_terminated_handler_ends_well(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            handler = self.handler()
            self.assertEqual(handler.ask_suspicious(sender=f"{number}@example.net"), DEFER)
            handler.process.send_signal(number)
            self.assertEqual(handler.wait(), 0)
            self.assertTrue(handler.at_end())
        self.assertEqual(len(self.rows("SELECT * FROM bley_log")), 2)
        self.assertEqual(self.faults(), [])

    def test_a_handler_terminated_in_the_middle_of_a_request(self):
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        handler.send(bleytest.suspicious(sender="x@example.net")[:-1])
        handler.process.terminate()
        self.assertEqual(handler.wait(), 0)
        self.assertTrue(handler.at_end())
        self.assertEqual(len(self.statuses()), 1)

    def test_a_handler_terminated_before_it_reads(self):
        """While it still loads its whitelists; the peer says nothing and stays."""
        if os.environ.get("VALGRIND"):
            self.skipTest("valgrind catches signals before bley does")
        self.write("whitelist_clients", "".join(f"host{i}.example.com\n" for i in range(300000)))
        handler = self.handler()

        def catches():
            with open(f"/proc/{handler.process.pid}/status", encoding="ascii") as stream:
                caught = re.search(r"SigCgt:\s*(\w+)", stream.read()).group(1)
            return int(caught, 16) >> (signal.SIGTERM - 1) & 1
        self.wait_until(catches, "a handler that catches signals")
        handler.process.terminate()
        self.assertEqual(handler.wait(), 0)
        self.assertTrue(handler.at_end())
        self.assertEqual(self.faults(), [])

    def test_the_answer_in_hand_is_given_before_the_end(self):
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.wait_until(lambda: self.rows("SELECT * FROM bley_log"))
        locker = sqlite3.connect(self.database(), isolation_level=None)
        self.addCleanup(locker.close)
        locker.execute("BEGIN IMMEDIATE")
        handler.send(bleytest.suspicious())
        with self.assertRaises(AssertionError):
            handler.answer(timeout=0.2)  # by now it waits for the lock
        handler.process.terminate()
        locker.execute("ROLLBACK")
        self.assertEqual(handler.answer(), DEFER)
        self.assertEqual(handler.wait(), 0)
        self.assertEqual(len(self.rows("SELECT * FROM bley_log")), 2)
        self.assertEqual(self.faults(), [])


class Together(FaultCase):
    """Many handlers at once on one database."""

    HANDLERS = 10
    REQUESTS = 100

    def setUp(self):
        super().setUp()
        self.write_conf(cache_valid=0, db_timeout=30)

    def in_parallel(self, work):
        """Runs work(handler, number) for each of so many handlers, all at the same time."""
        handlers = [self.handler() for _ in range(self.HANDLERS)]
        bleytest.in_threads(work, [(handler, number) for number, handler in enumerate(handlers)])
        for handler in handlers:
            self.assertEqual(handler.finish(), 0)
            self.assertEqual(handler.errors(), "")
        self.assertEqual(self.faults(), [])

    def test_ten_handlers(self):
        """One half of the triplets is new to all of them in the same instant, the other half of their own."""
        def work(handler, number):
            for n in range(self.REQUESTS // 2):
                self.assertEqual(handler.ask_suspicious(sender=f"all-{n}@example.net"), DEFER)
                self.assertEqual(handler.ask(sender=f"{number}-{n}@example.net"), "DUNNO")

        self.in_parallel(work)
        half = self.REQUESTS // 2
        self.assertEqual(self.rows("SELECT count(*) FROM bley_status WHERE status = 2"), [(half,)])
        self.assertEqual(self.rows("SELECT count(*) FROM bley_status WHERE status = 0 AND fail_count = 0"),
                         [(half * self.HANDLERS,)])
        self.assertEqual(self.rows("SELECT action, count(*) FROM bley_log GROUP BY action ORDER BY action"),
                         [("DEFER_IF_PERMIT", half * self.HANDLERS), ("DUNNO", half * self.HANDLERS)])
        # the first of each was the new one, or lost the race for it; the others counted as failures
        known = self.rows("SELECT count(*) FROM bley_log WHERE action = 'DEFER_IF_PERMIT' AND check_db = 2")[0][0]
        self.assertEqual(self.rows("SELECT sum(fail_count) FROM bley_status"), [(known,)])

    def test_ten_handlers_make_the_database(self):
        self.in_parallel(lambda handler, number: self.assertEqual(handler.ask_suspicious(), DEFER))
        self.assertEqual([row[:4] for row in self.statuses()],
                         [("203.0.113.7", "spammer@example.net", "recipient@example.org", 2)])
        self.assertEqual(self.rows("SELECT count(*) FROM bley_log"), [(self.HANDLERS,)])

    def test_ten_handlers_and_the_cache(self):
        self.write_conf(cache_valid=3600, db_timeout=30)
        first = self.handler()
        self.assertEqual(first.ask_suspicious(), DEFER)
        self.assertEqual(first.finish(), 0)

        def work(handler, number):
            for n in range(self.REQUESTS):
                self.assertEqual(handler.ask_suspicious(sender=f"{number}-{n}@example.net"), DEFER + " (cached result)")

        self.in_parallel(work)
        self.assertEqual(len(self.statuses()), 1)
        self.assertEqual(self.rows("SELECT check_cache, count(*) FROM bley_log GROUP BY check_cache"),
                         [(0, 1), (1, self.REQUESTS * self.HANDLERS)])

    def test_a_triplet_passes_everywhere(self):
        """Whoever comes after the wait is let in, also where several come at once."""
        first = self.handler()
        self.assertEqual(first.ask_suspicious(), DEFER)
        self.assertEqual(first.finish(), 0)
        self.move_time(1800)
        answers = []

        def work(handler, number):
            answers.append(handler.ask_suspicious().split()[0])

        self.in_parallel(work)
        self.assertLessEqual(set(answers), {"PREPEND", "DUNNO"})
        self.assertIn("PREPEND", answers)
        self.assertEqual([row[3] for row in self.statuses()], [0])


if __name__ == "__main__":
    unittest.main()
