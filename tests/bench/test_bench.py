# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark's tools do what they say; what they measure is nobody's test."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import bleytest
import supervise

LOAD = bleytest.program("tests/bench/load")
ECHO = bleytest.program("tests/bench/echo")


class Load(bleytest.TestCase):
    def load(self, address, *options):
        return self.run_program([LOAD, "-n", "200", "-c", "4", "-t", "50", *options, address])

    def test_echo_is_told_right_from_wrong(self):
        address = supervise.start_socket_activate(self, [self.path("socket")], None, ["--accept", "--inetd"], program=ECHO)[1][0]
        done = self.load(address, "-m", "mixed", "-k", "DUNNO", "-w", "DUNNO")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((json.loads(done.stdout)["requests"], json.loads(done.stdout)["wrong"]), (200, 0))
        done = self.load(address, "-1", "-m", "known", "-k", "DEFER_IF_PERMIT")
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(json.loads(done.stdout)["wrong"], 200)
        self.assertIn("wrong answer: action=DUNNO", done.stderr)

    def test_bley_knows_what_is_known(self):
        conf = self.write_conf(greylist_period="0s", cache_valid=0)
        address = supervise.socket_activate(self, self.path("socket"), conf)
        for options in (["-p", "-m", "known"], ["-m", "mixed", "-s", "2"], ["-m", "new", "-s", "3", "-1"]):
            done = self.load(address, "-k", "DUNNO", "-w", "DUNNO", *options)
            self.assertEqual(done.returncode, 0, done.stderr)
        # 50 known, and each new one is new
        new = self.rows("SELECT count(*), count(DISTINCT ip) FROM bley_status WHERE ip NOT LIKE '10.%'")[0]
        self.assertEqual(self.rows("SELECT count(*) FROM bley_status WHERE ip LIKE '10.%'"), [(50,)])
        self.assertEqual(new[0], new[1])
        self.assertGreater(new[0], 200)


if __name__ == "__main__":
    unittest.main()
