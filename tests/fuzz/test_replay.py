# SPDX-License-Identifier: BSD-3-Clause
"""Every fuzz target over its corpus."""

import glob
import os

import bleytest

FOLDER = os.path.join(bleytest.SRC, "tests", "fuzz")

# Targets that a build without the SQLite driver lacks.
WITH_SQLITE = ("handler", "sqlite")
SQLITE = os.path.join(bleytest.BUILD, "modules", "store_sqlite.so")


class Replay(bleytest.TestCase):
    def test_corpora(self):
        targets = sorted(glob.glob(os.path.join(FOLDER, "fuzz_*.c")))
        self.assertTrue(targets)
        for source in targets:
            name = os.path.basename(source)[len("fuzz_"):-len(".c")]
            with self.subTest(name):
                corpus = sorted(glob.glob(os.path.join(FOLDER, "corpus", name, "*")))
                self.assertTrue(corpus, "no corpus")
                program = os.path.join(bleytest.BUILD, "tests", "fuzz", "fuzz_" + name)
                if name in WITH_SQLITE and not os.path.exists(SQLITE):
                    continue
                result = self.run_program([program, *corpus], timeout=200)
                self.assertEqual((result.returncode, result.stdout), (0, f"{len(corpus)}\n"), result.stderr[-4000:])
