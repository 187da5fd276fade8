# SPDX-License-Identifier: BSD-3-Clause
"""A server that answers in another shape than it was asked for: the failure action, one error, and no harm."""

import os
import struct
import unittest

import bleytest
import fakes

DEFER = "DEFER_IF_PERMIT greylisted, try again later"
PLACE = "database mail at 127.0.0.1, port {}: "
ERROR = PLACE + "the server's answer is not what was asked for"


class ShapesCase:
    """The kind gives: make(), KEYS, RECALL and VERSION, parts of these statements."""

    def setUp(self):
        super().setUp()
        self.server = self.make()
        self.addCleanup(self.server.listener.close)
        self.place, self.error = PLACE.format(self.server.port), ERROR.format(self.server.port)
        self.conf = self.write_conf(dbhost="127.0.0.1", dbport=self.server.port, dbname="mail", dbuser="bley", dbpass="bley",
                                    dbtls="off", cache_valid=0, db_timeout=30, **self.KEYS)
        os.chmod(self.conf, 0o600)

    def errors(self):
        return [line for line in self.log_lines() if "]: error: " in line or "]: warning: " in line]

    def assert_refused(self, part, error=None, **changes):
        """With a connection that has this statement yet to come, and with one that has run it before; and it is done with then."""
        for warm in False, True:
            handler = self.handler()
            if warm:
                self.server.mend()
                self.assertEqual([handler.ask_suspicious() for _ in range(3)], [DEFER] * 3)
            before = len(self.errors())
            self.server.bend(part, **changes)
            self.assertEqual(handler.ask_suspicious(), "DUNNO", (part, changes))
            self.wait_until(lambda: len(self.errors()) > before, "an error")
            self.assertEqual(len(self.errors()), before + 1, self.errors())
            # what has been run before the library may find out by itself
            self.assertIn(self.place if warm else error or self.error, self.errors()[-1])
            self.server.mend()
            self.wait_until(lambda: handler.ask_suspicious() == DEFER, "a decision")
            self.assertEqual(handler.finish(), 0, handler.errors())

    def test_as_it_should_be(self):
        handler = self.handler()
        self.assertEqual([handler.ask_suspicious() for _ in range(4)], [DEFER] * 4)
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(self.errors(), [])
        self.assertEqual(self.bleyctl("stats").returncode, 0)

    def test_too_many_columns(self):
        self.assert_refused(self.RECALL, columns=64)

    def test_a_column_too_many(self):
        self.assert_refused(self.RECALL, columns=5)

    def test_too_few_columns(self):
        self.assert_refused(self.RECALL, columns=3)

    def test_no_columns(self):
        self.assert_refused(self.RECALL, columns=0)

    def test_no_row(self):
        self.assert_refused(self.RECALL, rows=0)

    def test_columns_where_none_belong(self):
        """The log row, behind the answer."""
        handler = self.handler()
        self.server.bend("INSERT INTO bley_log", columns=64, rows=3)
        self.assertEqual(handler.ask_suspicious(), DEFER)
        self.wait_for_log("error: .*" + self.error)
        self.server.mend()
        self.wait_until(lambda: handler.ask_suspicious() == DEFER, "a decision")
        self.assertEqual(handler.finish(), 0, handler.errors())

    def test_the_version(self):
        for shape in ({"columns": 1}, {"columns": 64}, {"columns": 0}, {"rows": 0}):
            self.server.bend(self.VERSION, **shape)
            handler = self.handler()
            self.assertEqual(handler.ask_suspicious(), "DUNNO", shape)
            self.assertEqual(handler.finish(), 0, handler.errors())
            self.assertIn(self.error, self.errors()[-1])

    def test_numbers_beyond_all_bounds(self):
        """As statuses, counts and ages: they are those of a triplet that is known, whatever it is."""
        for number in (-2 ** 63, -2 ** 31 - 1, -2, -1, 2 ** 31, 2 ** 32, 2 ** 63 - 1):
            self.server.bend(self.RECALL, values=(number, number, number, number))
            handler = self.handler()
            self.assertRegex(handler.ask_suspicious(), "^(DUNNO|DEFER_IF_PERMIT|PREPEND) ?", number)
            self.server.bend(self.RECALL, values=(2, number, 0, None))
            self.assertRegex(handler.ask_suspicious(), "^(DUNNO|DEFER_IF_PERMIT|PREPEND) ?", number)
            self.assertEqual(handler.finish(), 0, handler.errors())
        self.assertEqual(self.errors(), [])

    def test_statistics(self):
        for values in ((1, "DUNNO", 0, 0, 9), (1, "DUNNO", 0, 0, -1), (1, "DUNNO", 0, 0, 2 ** 40), (-1, "DUNNO", 0, 0, 0), (1,),
                       (1,) * 64):
            self.server.bend("GROUP BY 2, 5", values=values)
            done = self.bleyctl("stats")
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(self.error, done.stderr)

    def test_pictures(self):
        for part, row in (("AS class", (2, 0, 1)), ("AS class", (0, 14, 1)), ("logtime", (12, 0, 1)), ("logtime", (-1, 0, 1)),
                          ("logtime", (0, 14, 1)), ("logtime", (0, -1, 1)), ("logtime", (2 ** 32, 2 ** 32, 1)), ("logtime", (1,))):
            self.server.bend(part, values=row)
            done = self.run_program([bleytest.program("bleygraph"), "-c", self.conf, "-d", self.path("pictures")])
            self.assertEqual(done.returncode, 1, (part, row, done))
            self.assertIn(self.error, done.stderr, (part, row))


class MySQL(ShapesCase, bleytest.TestCase):
    KEYS = {"dbtype": "mysql"}
    RECALL, VERSION = "GREATEST(0, TIMESTAMPDIFF", "max(version)"

    def make(self):
        return fakes.MySQL()

    def test_columns_that_grow_when_it_is_run(self):
        self.assert_refused(self.RECALL, error=self.place, columns=64, announced=4)

    def test_columns_that_are_gone_when_it_is_run(self):
        self.assert_refused(self.RECALL, error=self.place, columns=0, announced=4)

    def test_parameters(self):
        for count in 0, 6, 1000:
            self.server.bend(self.RECALL, parameters=count)
            handler = self.handler()
            self.assertEqual(handler.ask_suspicious(), "DUNNO")
            self.assertEqual(handler.finish(), 0, handler.errors())
            self.assertIn(self.error, self.errors()[-1])

    def test_more_rows(self):
        self.assert_refused(self.RECALL, rows=2)

    def test_types_that_nobody_knows(self):
        for kind in (20, 100, 241, 244):
            self.assert_refused(self.RECALL, values=(1, 1, 1, 1), type=kind)

    def test_insert_ids(self):
        for insert_id in (2 ** 31, 2 ** 32, 2 ** 63, 2 ** 64 - 1):
            self.server.bend("INSERT INTO bley_status", insert_id=insert_id)
            handler = self.handler()
            self.assertRegex(handler.ask_suspicious(), "^(DUNNO|DEFER_IF_PERMIT)", insert_id)
            self.assertEqual(handler.finish(), 0, handler.errors())

    def test_setting_up_gives_rows(self):
        self.server.bend("SET NAMES", columns=3)
        handler = self.handler()
        self.assertEqual(handler.ask_suspicious(), "DUNNO")
        self.assertEqual(handler.finish(), 0, handler.errors())
        self.assertIn(self.error, self.errors()[-1])

    def test_a_file_of_ours(self):
        """The server asks for one, and an option file would have it sent."""
        self.write(".my.cnf", "[client]\nlocal-infile = 1\n")
        secret = self.write("secret", "very secret\n")
        self.server.bend("SET NAMES", raw=b"\xfb" + secret.encode())
        handler = self.handler(env={**os.environ, "HOME": self.tmp})
        self.assertEqual(handler.ask_suspicious(), "DUNNO")
        self.assertEqual(handler.finish(), 0, handler.errors())
        self.assertEqual([data for data in self.server.heard if b"secret" in data], [])


class PostgreSQL(ShapesCase, bleytest.TestCase):
    KEYS = {"dbtype": "pgsql"}
    RECALL, VERSION = "FROM (SELECT 1) one", "max(version)"

    def make(self):
        return fakes.PostgreSQL()

    def test_it_wants_to_copy(self):
        for kind in (b"G", b"H", b"W"):
            self.assert_refused(self.RECALL, columns=0, raw=fakes.PostgreSQL.message(kind, struct.pack(">BH", 0, 0)))


if __name__ == "__main__":
    unittest.main()
