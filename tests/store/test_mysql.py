# SPDX-License-Identifier: BSD-3-Clause
"""The MySQL driver against MariaDB: the conformance cases, and what happens when the server is not as it should be."""

import os
import unittest

import bleytest
import servers
import storetest


def setUpModule():
    bleytest.TestCase().need("mariadbd", "mariadb-install-db")
    Engine.server = servers.MariaDB()


def tearDownModule():
    Engine.server.remove()


class Engine(storetest.ServerEngine):
    type = "mysql"

    def fresh(self, test):
        self.name = self.server.database()
        return {"BLEY_STORE_HOST": self.server.host, "BLEY_STORE_NAME": self.name}

    def move(self, table, us):
        column = "logtime" if table == "bley_log" else "last_action"
        self.sql(f"UPDATE {table} SET {column} = {column} - INTERVAL {us} MICROSECOND")

    def age(self, table, column, where):
        [(text,)] = self.rows(f"SELECT TIMESTAMPDIFF(MICROSECOND, {column}, UTC_TIMESTAMP(6)) FROM {table} WHERE {where}")
        return int(text)

    def times(self, table, column, order):
        return [text for (text,) in self.rows(
            f"SELECT DATE_FORMAT({column}, '%Y-%m-%d %H:%i:%s.%f') FROM {table} ORDER BY {order}")]

    def python(self):
        with open(os.path.join(storetest.HERE, "python_mysql.sql"), encoding="utf-8") as stream:
            self.server.sql(stream.read(), self.name)


class Conformance(storetest.cases_for(Engine)):
    pass


class Unable(Engine):
    """A user who may not make the procedure, without which a decision is two statements."""

    def fresh(self, test):
        settings = super().fresh(test)
        self.server.sql(f"REVOKE CREATE ROUTINE ON {self.name}.* FROM bley, bley@localhost")
        return settings


class WithoutTheProcedure(storetest.cases_for(Unable, "insert keep touch pass again vanished future client lost_race race_insert"
                                              " race_again writers")):
    pass


if __name__ == "__main__":
    unittest.main()
