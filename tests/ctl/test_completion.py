# SPDX-License-Identifier: BSD-3-Clause
"""Bash completes commands and options as the help has them."""

import os
import unittest

import bleytest

SCRIPT = os.path.join(bleytest.SRC, "completion", "bleyctl.bash")


class Completion(bleytest.TestCase):
    def complete(self, *words):
        program = bleytest.program("bleyctl")
        quoted = " ".join(f"'{word}'" for word in (program, *words))
        result = self.run_program([self.need("bash"), "-c", f"""
            . {SCRIPT}; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _bleyctl; printf '%s\\n' "${{COMPREPLY[@]}}" """])
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return sorted(result.stdout.split())

    def test_bash(self):
        self.assertEqual(self.complete("s"), ["show", "spf", "stats"])
        conf = self.write_conf()
        self.assertEqual(self.complete("-c", self.path("ble")), [conf])
        self.assertEqual(self.complete("forget", "--"), ["--config", "--dry-run", "--help", "--yes"])
        self.assertEqual(self.complete("list", "--status", ""), ["clean", "grey", "listed"])
        self.assertEqual(self.complete("-c", "x", "list", "--json", "--li"), ["--limit"])
        self.assertEqual(self.complete("list", "--limit", ""), [])


if __name__ == "__main__":
    unittest.main()
