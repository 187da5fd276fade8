# SPDX-License-Identifier: BSD-3-Clause
"""The PostgreSQL driver: the conformance cases, and what happens when the server is not as it should be."""

import os
import unittest

import bleytest
import servers
import storetest


def setUpModule():
    if not servers.PostgreSQL.programs():
        bleytest.TestCase().need("initdb")
    Engine.server = servers.PostgreSQL()


def tearDownModule():
    Engine.server.remove()


class Engine:
    type = "pgsql"
    server = None

    def fresh(self, test):
        self.name = self.server.database()
        # the Python daemon wrote the server's local time
        self.server.sql(f"ALTER DATABASE {self.name} SET timezone = 'Europe/Berlin'", "postgres")
        return {"BLEY_STORE_HOST": self.server.host, "BLEY_STORE_PORT": str(self.server.port), "BLEY_STORE_NAME": self.name}

    def sql(self, statement):
        self.server.sql(statement, self.name)

    def rows(self, query):
        text = self.server.sql(query, self.name)
        return [tuple(None if value == "\\N" else value for value in line.split("\t")) for line in text.splitlines()]

    def move(self, table, us):
        column = "logtime" if table == "bley_log" else "last_action"
        self.sql(f"UPDATE {table} SET {column} = {column} - {us} * interval '1 microsecond'")

    def age(self, table, column, where):
        [(text,)] = self.rows(f"SELECT (extract(epoch FROM (clock_timestamp() AT TIME ZONE 'UTC') - {column})"
                              f" * 1000000)::bigint FROM {table} WHERE {where}")
        return int(text)

    def times(self, table, column, order):
        return [text for (text,) in self.rows(
            f"SELECT to_char({column}, 'YYYY-MM-DD HH24:MI:SS.US') FROM {table} ORDER BY {order}")]

    def python(self):
        with open(os.path.join(storetest.HERE, "python_pgsql.sql"), encoding="utf-8") as stream:
            self.server.sql("SET ROLE bley;\n" + stream.read(), self.name)


class Conformance(storetest.cases_for(Engine)):
    pass


if __name__ == "__main__":
    unittest.main()
