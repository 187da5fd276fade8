# SPDX-License-Identifier: BSD-3-Clause
"""bleyctl watch: a screen on a terminal, lines elsewhere."""

import re
import signal
import time
import unittest

import bleytest
import terminal

# What a screen may have beside text: the sequences that bleyctl itself writes.
SCREEN = rb"\x1b\[(H|K|J|2J|\?7[lh])"
HOSTILE = "\x1b[31mred\x07\x9b2J\r\n\u2028e\u0301例え" + "x" * 150 + "@example.com"


class Watch(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        self.conf = self.write_conf()
        self.assertEqual(self.bleyctl("init").returncode, 0)
        self.count = 0

    def log(self, sender="s{}@example.com"):
        """A decision of just now."""
        self.count += 1
        self.execute("INSERT INTO bley_log VALUES (strftime('%Y-%m-%d %H:%M:%f', 'now'), '192.0.2.1', ?, 'r@example.org',"
                     " 'DEFER_IF_PERMIT', 0, 0, 2, 0, -1, 0, 0, 0, 0)", [sender.format(self.count)])

    def watch(self, **size):
        screen = terminal.Terminal(self, [bleytest.program("bleyctl"), "-c", self.conf, "watch"], **size)
        screen.wait_for(rb"\x1b\[H.*\x1b\[J")
        self.assertNotEqual(screen.modes(), screen.before)
        return screen

    def drawn(self, screen, pattern, between=None):
        """The next whole screen in which the pattern is: one that each later screen has, too, as not all are drawn."""
        end = time.monotonic() + bleytest.PATIENCE
        while time.monotonic() < end:
            text = screen.wait_for(rb"\x1b\[H.*?\x1b\[J", between or self.log)
            if re.search(pattern, text):
                return text
        raise AssertionError(f"{pattern!r} is in no screen, not in the last: {text!r}")

    def test_screen(self):
        screen = self.watch(rows=10)
        text = self.drawn(screen, rb"s\d\d+@example\.com")
        self.assertRegex(text, rb"^\x1b\[Hdecisions a minute \(q ends\):  DEFER_IF_PERMIT \d+\.\d\x1b\[K\r\n")
        self.assertRegex(text, rb"\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  DEFER_IF_PERMIT  192.0.2.1  s\d\d+@example\.com -> r@example.org\x1b")
        self.assertEqual(text.count(b"\n"), 9)
        screen.resize(6, 40)
        self.wait_until(lambda: screen.wait_for(rb"\x1b\[H.*?\x1b\[J").count(b"\n") == 5, "a smaller screen")
        screen.type("xq")
        self.assertEqual(screen.wait_end(), 0)
        self.assertTrue(screen.seen.endswith(b"\x1b[?7h"))
        self.assertEqual(screen.modes(), screen.before)

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            with self.subTest(number):
                screen = self.watch()
                if number == signal.SIGINT:
                    screen.type("\x03")
                else:
                    screen.process.send_signal(number)
                self.assertEqual(screen.wait_end(), -number)
                self.assertTrue(screen.seen.endswith(b"\x1b[?7h\r\n"))
                self.assertEqual(screen.modes(), screen.before)

    def test_ended_in_the_background(self):
        """Stopped by the shell and then told to end: the terminal is not its own, and would stop it again."""
        screen = terminal.Terminal(self, ["sh", "-ci", '"$@"; echo stopped; kill -TERM %1; bg %1; wait %1; echo "ended with $?"', "sh",
                                          bleytest.program("bleyctl"), "-c", self.conf, "watch"])
        screen.wait_for(rb"\x1b\[H.*\x1b\[J")
        screen.type("\x1a")
        screen.wait_for(rb"stopped")
        screen.wait_for(rb"ended with 143")

    def test_hostile(self):
        screen = self.watch()
        text = self.drawn(screen, rb"xxx@example\.com", lambda: self.log(HOSTILE))
        rest = re.sub(SCREEN, b"", text).replace(b"\r\n", b"")
        self.assertNotRegex(rest.decode(), "[\x00-\x1f\x7f-\x9f\u2028]")
        self.assertIn("例え", rest.decode())

    def test_lines(self):
        """Without a terminal no sequence is written, and one line each."""
        self.start([bleytest.program("bleyctl"), "-c", self.conf, "watch"], log="watched")

        def seen():
            self.log(HOSTILE)
            with open(self.path("watched"), encoding="utf-8", newline="") as stream:
                text = stream.read()
            return text.endswith("\n") and text
        text = self.wait_until(seen, "a decision")
        self.assertRegex(text, r"\A(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  DEFER_IF_PERMIT  192.0.2.1  [^\x00-\x1f\x7f-\x9f]*\n)+\Z")


if __name__ == "__main__":
    unittest.main()
