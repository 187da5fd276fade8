# SPDX-License-Identifier: BSD-3-Clause
"""A program at a terminal of its own."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import bleytest


class Terminal:
    """Runs a program at a new pseudo-terminal. What it prints gathers in `seen`; `before` are the modes without it."""

    def __init__(self, test, argv, rows=24, columns=80, **popen):
        self.ours, self.theirs = pty.openpty()
        test.addCleanup(os.close, self.ours)
        test.addCleanup(os.close, self.theirs)
        self.seen = b""
        self.resize(rows, columns)
        self.before = self.modes()
        self.process = subprocess.Popen(argv, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), **popen)
        test.addCleanup(bleytest.stop, self.process)

    def resize(self, rows, columns):
        """The kernel tells the program with SIGWINCH."""
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def modes(self):
        return termios.tcgetattr(self.theirs)

    def type(self, text):
        os.write(self.ours, text.encode())

    def wait_for(self, pattern, between=lambda: None):
        """Reads on until the pattern (bytes) is seen, calls between() meanwhile; what was seen up to its end is taken out."""
        end = time.monotonic() + bleytest.PATIENCE
        while not (found := re.search(pattern, self.seen, re.DOTALL)):
            if time.monotonic() > end:
                raise AssertionError(f"{pattern!r} is not in {self.seen!r}")
            between()
            if select.select([self.ours], [], [], 0.2)[0]:
                self.seen += os.read(self.ours, 65536)
        self.seen = self.seen[found.end():]
        return found.group()

    def wait_end(self):
        """Its exit status; reads on meanwhile."""
        end = time.monotonic() + bleytest.PATIENCE
        while self.process.poll() is None:
            if time.monotonic() > end:
                raise AssertionError(f"it does not end: {self.seen!r}")
            if select.select([self.ours], [], [], 0.05)[0]:
                self.seen += os.read(self.ours, 65536)
        while select.select([self.ours], [], [], 0)[0]:
            self.seen += os.read(self.ours, 65536)
        return self.process.returncode

    def drain(self):
        """What it has printed goes nowhere; else it would wait for a reader in the end."""
        while select.select([self.ours], [], [], 0)[0]:
            self.seen += os.read(self.ours, 65536)
