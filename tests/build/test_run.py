# SPDX-License-Identifier: BSD-3-Clause
"""The harness itself: whatever goes wrong in a test, tests/run must not call it passed."""

import os
import shutil
import unittest

import bleytest

GOOD = "printf '1..2\\nok 1 - a\\nok 2 - b\\n'"


class Run(bleytest.TestCase):
    """A tree of its own, with shell scripts in the place of unit test programs."""

    def setUp(self):
        super().setUp()
        os.makedirs(self.path("src/tests/lib"))
        shutil.copy(os.path.join(bleytest.SRC, "tests", "run"), self.path("src/tests/run"))
        shutil.copy(os.path.join(bleytest.SRC, "tests", "lib", "bleytest.py"), self.path("src/tests/lib/bleytest.py"))
        self.write("build/config.h", "")

    def unit(self, name, script):
        self.write(f"src/tests/unit/test_{name}.c", "")
        if script is not None:
            self.write(f"build/tests/unit/test_{name}", f"#!/bin/sh\n{script}\n", 0o755)

    def module(self, name, body):
        self.write(f"src/tests/area/test_{name}.py", "import os, unittest, bleytest\n" + body)

    def run_tests(self, *args, **env):
        environment = {**os.environ, "BLEY_BUILD": self.path("build"), "CI": "", **env}
        done = self.run_program([self.path("src/tests/run"), *args], env=environment)
        lines = done.stdout.splitlines()
        return done.returncode, lines[-1] if lines else "", done.stdout + done.stderr

    def expect(self, status, line, *args, **env):
        got = self.run_tests(*args, **env)
        self.assertEqual(got[:2], (status, line), got[2])
        return got[2]

    def test_passed(self):
        self.unit("good", GOOD)
        self.module("good", "class T(unittest.TestCase):\n def test_x(self): pass\n")
        self.expect(0, "3 passed, 0 failed, 0 skipped")
        self.expect(0, "2 passed, 0 failed, 0 skipped", "--unit")
        self.expect(0, "1 passed, 0 failed, 0 skipped", "area")
        self.expect(0, "1 passed, 0 failed, 0 skipped", "tests/area/test_good.py")
        self.expect(0, "1 passed, 0 failed, 0 skipped", "area/test_good:T.test_x")
        self.expect(1, "0 passed, 0 failed, 0 skipped", "nothing")

    def test_unit_tests_that_go_wrong(self):
        for script, line in (
            ("printf '1..2\\nok 1 - a\\nnot ok 2 - b\\n# broken\\n'; exit 1", "1 passed, 1 failed, 0 skipped"),
            ("printf '1..2\\nok 1 - a\\nnot ok 2 - b\\n'", "1 passed, 1 failed, 0 skipped"),
            ("printf '1..2\\nok 1 - a\\n'", "1 passed, 1 failed, 0 skipped"),
            ("printf '1..2\\nok 1 - a\\nok 2 - b\\n'; kill -SEGV $$", "2 passed, 1 failed, 0 skipped"),
            ("printf '1..2\\nok 1 - a\\nok 2 - b\\n'; exit 3", "2 passed, 1 failed, 0 skipped"),
            ("printf 'ok 1 - a\\n'", "1 passed, 1 failed, 0 skipped"),
            ("exit 0", "0 passed, 1 failed, 0 skipped"),
            (None, "0 passed, 1 failed, 0 skipped"),
            ("printf '1..2\\nok 1 - a\\nsaid not ok 2 # SKIP b\\n'", "1 passed, 0 failed, 1 skipped"),
            ("printf '1..1\\nsaid not ok 1 - a\\n'", "0 passed, 1 failed, 0 skipped"),
        ):
            with self.subTest(script=script):
                shutil.rmtree(self.path("build/tests"), ignore_errors=True)
                self.unit("x", script)
                self.expect(0 if " 0 failed" in line else 1, line)

    def test_modules_that_go_wrong(self):
        for body, line in (
            ("class T(unittest.TestCase):\n def test_x(self): self.fail('told')\n", "0 passed, 1 failed, 0 skipped"),
            ("class T(unittest.TestCase):\n def test_x(self): 1 / 0\n", "0 passed, 1 failed, 0 skipped"),
            ("class T(unittest.TestCase):\n def setUp(self): 1 / 0\n def test_x(self): pass\n", "0 passed, 1 failed, 0 skipped"),
            ("class T(unittest.TestCase):\n def test_x(self):\n  for i in 1, 2:\n   with self.subTest(i=i): self.assertEqual(i, 1)\n",
             "0 passed, 1 failed, 0 skipped"),
            ("class T(unittest.TestCase):\n def test_x(self):\n  self.addCleanup(lambda: 1 / 0)\n", "0 passed, 1 failed, 0 skipped"),
            ("class T(unittest.TestCase):\n def test_x(self): os._exit(0)\n", "0 passed, 1 failed, 0 skipped"),
            ("class T(unittest.TestCase):\n @unittest.expectedFailure\n def test_x(self): pass\n", "0 passed, 1 failed, 0 skipped"),
            ("import no_such_module\n", "0 passed, 1 failed, 0 skipped"),
            ("", "0 passed, 1 failed, 0 skipped"),
        ):
            with self.subTest(body=body):
                self.module("x", body)
                self.expect(1, line)

    def test_missing_program(self):
        self.unit("good", GOOD)
        self.module("x", "class T(bleytest.TestCase):\n def test_x(self): self.need('sh', 'no-such-program')\n")
        output = self.expect(0, "2 passed, 0 failed, 1 skipped")
        self.assertIn("skipped area/test_x.T.test_x: no-such-program is not installed", output)
        self.assertIn("no-such-program", self.expect(1, "2 passed, 1 failed, 0 skipped", CI="true"))

    def test_nothing_is_left_running(self):
        """What a module starts and forgets ends with it."""
        self.module("x", "import subprocess\nclass T(unittest.TestCase):\n def test_x(self):\n"
                         f"  process = subprocess.Popen(['sleep', '600'])\n  open({self.path('pid')!r}, 'w').write(str(process.pid))\n")
        self.expect(0, "1 passed, 0 failed, 0 skipped")
        with open(self.path("pid"), encoding="ascii") as stream:
            pid = int(stream.read())

        def gone():
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
                    return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
            except OSError:
                return True
        self.wait_until(gone, "the end of the forgotten process")

    def test_callers_settings_do_not_reach_tests(self):
        self.module("x", "class T(unittest.TestCase):\n def test_x(self):\n"
                         "  self.assertEqual([n for n in os.environ if n.startswith(('PG', 'MYSQL', 'HARMFUL'))], [])\n"
                         "  self.assertEqual(os.environ['TZ'], 'UTC')\n")
        self.expect(0, "1 passed, 0 failed, 0 skipped", PGHOST="elsewhere", HARMFUL="1", TZ="America/New_York")


if __name__ == "__main__":
    unittest.main()
