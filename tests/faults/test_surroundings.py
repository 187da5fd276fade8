# SPDX-License-Identifier: BSD-3-Clause
"""What bley stands on goes wrong in mid-traffic: the clock, name servers, the configuration."""

import os
import random
import re
import shutil
import signal
import sqlite3
import struct
import time
import unittest

import bleytest
import dnsnet
from traffic import DEFER, FAILED, SLACK, FaultCase, Traffic

HOUR = 3600
PASSES = r"PREPEND X-Greylist: delayed \d+ seconds .*"


class Clock(FaultCase):
    def setUp(self):
        super().setUp()
        if bleytest.instrumented():
            self.skipTest("this build is instrumented")
        self.set(0)
        self.env = {**os.environ, "LD_PRELOAD": bleytest.program("tests/faults/clock_preload.so"), "CLOCK_FILE": self.path("clock")}

    def set(self, seconds):
        """The clock is off by so much, for those that run, too."""
        with open(os.open(self.path("clock"), os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0) as stream:
            stream.write(struct.pack("q", seconds))

    def start_handler(self):
        return self.handler(env=self.env)

    def test_back_and_forth_in_mid_traffic(self):
        """Who was deferred may have waited by the clock. All else is as ever; what is in the future holds up nobody."""
        self.configure()
        traffic = Traffic(self, self.start_handler, again=f"{re.escape(DEFER)}|{PASSES}|DUNNO")
        for hours in (5, -5, 11, -30, 0):
            traffic.wait_for_health()
            self.set(hours * HOUR)
        traffic.wait_for_health()
        traffic.finish(30)
        self.assertEqual((traffic.failed, self.faults()), (0, []), str(traffic))
        self.assertEqual(self.rows("PRAGMA integrity_check"), [("ok",)])
        stored = {sender for (sender,) in self.rows("SELECT sender FROM bley_status")}
        self.assertEqual(traffic.deferred - stored, set())

    def test_set_back_while_somebody_waits(self):
        self.configure()
        handler = self.start_handler()
        self.set(5 * HOUR)
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.set(0)
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.set(HOUR)  # from there it is an hour, and not five to wait for
        self.assertRegex(handler.ask_suspicious(), PASSES)

    def test_what_is_cached_in_the_future(self):
        self.configure(cache_valid=60)
        self.write("whitelist_recipients", "postmaster@\n")
        handler = self.start_handler()
        self.set(5 * HOUR)
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.assertEqual(handler.ask_suspicious(sender="2@example.net"), DEFER + " (cached result)")
        self.set(0)
        self.assertEqual(handler.ask_suspicious(sender="3@example.net"), DEFER)
        self.assertEqual(handler.ask_suspicious(sender="4@example.net"), DEFER + " (cached result)")

    def test_deadlines(self):
        """Neither does a clock that is set end the wait for a lock, nor does it make it longer."""
        self.configure(db_timeout=2)
        handler = self.start_handler()
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.wait_until(lambda: self.rows("SELECT * FROM bley_log"), "the log row")
        locker = sqlite3.connect(self.database(), isolation_level=None)
        self.addCleanup(locker.close)
        for hours in (5, 0):
            locker.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            handler.send(bleytest.suspicious(sender=f"{hours}@example.net"))
            with self.assertRaises(AssertionError):
                handler.answer(timeout=0.3)
            self.set(hours * HOUR)
            self.assertEqual(handler.answer(), FAILED)
            self.assertGreater(time.monotonic() - began, 1.5)
            self.assertLess(time.monotonic() - began, 2 + SLACK)
            locker.execute("ROLLBACK")
            self.assertEqual(handler.ask_suspicious(sender=f"{hours}@example.net"), DEFER)


class NameServers(FaultCase):
    def test_frozen_in_mid_traffic(self):
        """Lists do not count meanwhile; what is known without them is decided, at the deadline."""
        found = dnsnet.NameServers(self, "9.2.0.192.bl.test. A 127.0.0.2\n")
        self.configure(dns_servers=found.address, dnsbls="bl.test", dnsbl_threshold=1, dns_timeout=5)
        pids = [process.pid for process in found.processes]

        def listed(number):
            client = self.handler()
            answer = client.ask(client_address="192.0.2.9", sender=f"listed{number}@example.net")
            client.finish()
            return answer
        traffic = Traffic(self, self.handler)
        traffic.wait_for_health()
        self.assertEqual(listed(1), DEFER)
        self.freeze(*pids)
        traffic.wait_for({"given": 16})
        self.assertEqual(listed(2), "DUNNO")
        self.thaw(*pids)
        numbers = iter(range(3, 1000))
        self.wait_until(lambda: listed(next(numbers)) == DEFER, "answers from the list")
        traffic.wait_for_health()
        traffic.finish(5)
        self.assertEqual(traffic.failed, 0, str(traffic))
        # once a connection, and those that were listed
        self.assert_told("no DNS list answered in time: check the name servers", 4 + next(numbers))
        self.assert_remembered(traffic)


class Configuration(FaultCase):
    def test_rubbish_in_mid_traffic(self):
        """The old settings go on, until there are good ones."""
        process, address = self.warm()
        conf, good = self.path("bley.conf"), self.path("good")
        shutil.copy(conf, good)
        traffic = Traffic(self, lambda: self.client(address), renew=5)
        dice = random.Random(7)
        traffic.wait_for_health()  # before, nobody listens to a SIGHUP

        def told():
            return len([line for line in self.log_lines() if "not taken over until it is mended" in line])
        for number, rubbish in enumerate((bytes(dice.randrange(256) for _ in range(5000)), b"[bley]\nrubbish\n", b"\0" * 100,
                                          b"[bley]\ndb_timeout = never\n", None)):
            before = told()
            os.unlink(conf)
            if rubbish is None:
                os.mkdir(conf)
            else:
                self.write("bley.conf", rubbish)
            process.send_signal(signal.SIGHUP)
            self.wait_until(lambda before=before: told() > before, f"what comes of rubbish {number}")
            traffic.wait_for_health()
            if rubbish is None:
                os.rmdir(conf)
            shutil.copy(good, conf)
        process.send_signal(signal.SIGHUP)
        self.wait_for_log("configuration and whitelists read anew")
        traffic.wait_for_health()
        traffic.finish(30)
        self.assertEqual(traffic.failed, 0, str(traffic))
        # the mistakes go to syslog, which may not be there
        self.assert_told("not taken over until it is mended", 6, allow="lost while the log did not take any")
        self.assert_remembered(traffic)


if __name__ == "__main__":
    unittest.main()
