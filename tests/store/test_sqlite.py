# SPDX-License-Identifier: BSD-3-Clause
"""The SQLite driver: the conformance cases, and what is a file's own."""

import datetime
import os
import shutil
import sqlite3
import time

import bleytest
import storetest

NOBODY = 65534


def now():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


class Engine:
    type = "sqlite3"

    def fresh(self, test):
        self.file = test.path("db", "bley.db")
        os.makedirs(os.path.dirname(self.file))
        return {"BLEY_STORE_NAME": self.file}

    def connect(self):
        return sqlite3.connect(self.file, timeout=bleytest.PATIENCE)

    def sql(self, statement):
        connection = self.connect()
        with connection:
            connection.execute(statement)
        connection.close()

    def rows(self, query):
        connection = self.connect()
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def move(self, table, us):
        column = "logtime" if table == "bley_log" else "last_action"
        connection = self.connect()
        connection.create_function(
            "moved", 1,
            lambda t: (datetime.datetime.fromisoformat(t) - datetime.timedelta(microseconds=us)).isoformat(" ", "microseconds"))
        with connection:
            connection.execute(f"UPDATE {table} SET {column} = moved({column})")
        connection.close()

    def age(self, table, column, where):
        [(text,)] = self.rows(f"SELECT {column} FROM {table} WHERE {where}")
        return round((now() - datetime.datetime.fromisoformat(text)) / datetime.timedelta(microseconds=1))

    def times(self, table, column, order):
        return [text for (text,) in self.rows(f"SELECT {column} FROM {table} ORDER BY {order}")]

    def python(self):
        with open(os.path.join(storetest.HERE, "python.sql"), encoding="utf-8") as stream:
            connection = self.connect()
            connection.executescript(stream.read())
            connection.close()


class Conformance(storetest.cases_for(Engine)):
    pass


class File(bleytest.TestCase):
    def setUp(self):
        super().setUp()
        self.engine = Engine()
        self.settings = self.engine.fresh(self)
        self.folder = os.path.dirname(self.engine.file)

    def drive(self, timeout_ms=30000):
        drive = storetest.Drive(self.engine, {**self.settings, "BLEY_STORE_TIMEOUT_MS": str(timeout_ms)})
        self.addCleanup(drive.stop)
        return drive

    def made(self):
        """The database, with one row."""
        drive = self.drive()
        self.assertEqual(drive.do("open"), "ok ")
        self.assertEqual(drive.do("insert a@example.com"), "ok 2")
        self.assertEqual(drive.do("close"), "ok ")
        # SQLite's own last close copies the write-ahead log back
        self.assertEqual(self.engine.rows("SELECT sender FROM bley_status"), [("a@example.com",)])

    def as_nobody(self, *paths):
        """A drive without root's rights, in folders that are its own."""
        drive = self.drive()
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, NOBODY, NOBODY)
            self.assertEqual(drive.do(f"user {NOBODY}"), "ok ")
        return drive

    def assertBroken(self, result, *words):
        self.assertRegex(result, "^broken ")
        for word in words:
            self.assertIn(word, result)

    def test_files(self):
        os.rmdir(self.folder)
        mask = os.umask(0o022)
        self.addCleanup(os.umask, mask)
        self.made()
        self.assertEqual(os.stat(self.folder).st_mode & 0o777, 0o750)
        self.assertEqual(os.stat(self.engine.file).st_mode & 0o777, 0o640)
        self.assertEqual(self.engine.rows("PRAGMA journal_mode"), [("wal",)])
        drive = self.drive()
        drive.do("open")
        self.assertEqual(drive.do("recall a@example.com"), "ok 2 0")
        for suffix in ("-wal", "-shm"):
            self.assertEqual(os.stat(self.engine.file + suffix).st_mode & 0o777, 0o640)
        drive.do("close")

    def test_close(self):
        """The last one that closes leaves one whole file."""
        drive = self.drive()
        drive.do("open")
        drive.do("insert a@example.com")
        drive.do("close")
        self.assertEqual(os.listdir(self.folder), ["bley.db"])
        drive.do("open")
        self.assertEqual(drive.do("recall a@example.com"), "ok 2 0")
        for i in range(200):
            drive.do(f"insert {i}@example.com")
        drive.do("close")
        self.assertEqual(os.listdir(self.folder), ["bley.db"])
        self.assertEqual(self.engine.rows("SELECT count(*) FROM bley_status"), [(201,)])

    def test_many_make_it_at_once(self):
        """Each finds no file or a whole one; none waits for the others until its time is over."""
        drives = [self.drive() for _ in range(50)]
        for drive in drives:
            drive.send("open")
        self.assertEqual([drive.result() for drive in drives], ["ok "] * len(drives))
        for drive in drives:
            drive.do("close")
        self.assertEqual(os.listdir(self.folder), ["bley.db"])

    def test_made_by_root_for_the_folders_owner(self):
        self.need_root()
        os.chown(self.folder, NOBODY, NOBODY)
        self.made()
        drive = self.drive()
        drive.do("open")
        drive.do("purge")
        for name in os.listdir(self.folder):
            self.assertEqual(os.stat(os.path.join(self.folder, name)).st_uid, NOBODY, name)

    def test_no_parent_folder(self):
        self.settings["BLEY_STORE_NAME"] = self.path("none", "db", "bley.db")
        self.assertBroken(self.drive().do("open"), self.path("none", "db") + ":", "No such file or directory")
        self.assertFalse(os.path.exists(self.path("none")))

    def test_folder_not_writable(self):
        os.chmod(self.folder, 0o500)
        drive = self.as_nobody(self.folder)
        self.assertBroken(drive.do("open"), self.engine.file, "Permission denied")
        os.chmod(self.folder, 0o700)
        self.assertEqual(drive.do("open"), "ok ")

    def test_file_not_writable(self):
        self.made()
        os.chmod(self.engine.file, 0o440)
        drive = self.as_nobody(self.folder, self.engine.file)
        self.assertBroken(drive.do("open"), self.engine.file, "may not write")
        os.chmod(self.engine.file, 0o640)
        self.assertEqual(drive.do("open"), "ok ")
        self.assertEqual(drive.do("recall a@example.com"), "ok 2 0")

    def test_no_database(self):
        self.write("db/bley.db", "This is no database.\n" * 1000)
        drive = self.drive()
        self.assertBroken(drive.do("open"), self.engine.file, "file is not a database")
        os.unlink(self.engine.file)
        self.assertEqual(drive.do("open"), "ok ")

    def test_a_folder_in_its_place(self):
        os.mkdir(self.engine.file)
        self.assertBroken(self.drive().do("open"), self.engine.file)

    def test_empty_file(self):
        self.write("db/bley.db", "")
        self.made()

    def test_damaged(self):
        self.made()
        drive = self.drive()
        drive.do("open")
        for i in range(100):
            drive.do(f"insert {i}@example.com")
        drive.do("close")
        good = self.path("good.db")
        shutil.copy(self.engine.file, good)
        with open(self.engine.file, "r+b") as stream:  # all pages but the first
            size = os.stat(self.engine.file).st_size
            stream.seek(4096)
            stream.write(b"\xa5" * (size - 4096))
        damaged = self.drive()
        result = damaged.do("open")
        if result == "ok ":
            result = damaged.do("recall a@example.com")
        self.assertBroken(result, self.engine.file, "damaged")
        os.unlink(self.engine.file)
        shutil.copy(good, self.engine.file)
        self.assertEqual(damaged.do("open"), "ok ")
        self.assertEqual(damaged.do("recall a@example.com"), "ok 2 0")

    def test_locked(self):
        self.made()
        drive = self.drive(timeout_ms=300)
        drive.do("open")
        blocker = sqlite3.connect(self.engine.file, isolation_level=None)
        self.addCleanup(blocker.close)
        blocker.execute("BEGIN IMMEDIATE")
        self.assertEqual(drive.do("recall a@example.com"), "ok 2 0")  # readers never wait
        for operation in ("insert b@example.com", "again a@example.com", "log a@example.com"):
            start = time.monotonic()
            self.assertRegex(drive.do(operation), "^retry .*locked.* 300 ms")
            self.assertGreater(time.monotonic() - start, 0.29)
            self.assertLess(time.monotonic() - start, 10)
        blocker.execute("ROLLBACK")
        self.assertEqual(drive.do("insert b@example.com"), "ok 2")
        self.assertEqual(drive.do("recall b@example.com"), "ok 2 0")

    def test_waits_for_a_lock(self):
        self.made()
        drive = self.drive()
        drive.do("open")
        blocker = sqlite3.connect(self.engine.file, isolation_level=None)
        self.addCleanup(blocker.close)
        blocker.execute("BEGIN IMMEDIATE")
        drive.send("insert b@example.com")
        time.sleep(0.05)  # for it to come there; passes without, too
        blocker.execute("COMMIT")
        self.assertEqual(drive.result(), "ok 2")

    def test_replaced(self):
        """A lasting process does not go on with a file that is gone."""
        self.made()
        shutil.copy(self.engine.file, self.path("copy.db"))
        drive = self.drive()
        drive.do("open")
        self.assertEqual(drive.do("insert later@example.com"), "ok 2")
        os.rename(self.path("copy.db"), self.path("db", "copy.db"))
        for suffix in ("-wal", "-shm"):
            os.unlink(self.engine.file + suffix)
        os.rename(self.path("db", "copy.db"), self.engine.file)
        self.wait_until(lambda: drive.do("recall later@example.com") == "ok -1 0", "the new file")
        self.assertEqual(drive.do("recall a@example.com"), "ok 2 0")

    def test_deleted(self):
        self.made()
        drive = self.drive()
        drive.do("open")
        shutil.rmtree(self.folder)
        self.wait_until(lambda: drive.do("recall a@example.com") == "ok -1 0", "a new file")
        self.assertEqual(drive.do("insert a@example.com"), "ok 2")
        self.assertEqual(self.engine.rows("SELECT count(*) FROM bley_status"), [(1,)])

    def test_killed_in_the_middle(self):
        for _ in range(3):
            drives = [self.drive() for _ in range(3)]
            for drive in drives:
                self.assertEqual(drive.do("open"), "ok ")
                drive.send("hammer")
            for drive in drives:
                self.assertEqual(drive.result(), "ok begun")
                drive.process.kill()
            for drive in drives:
                drive.process.wait()
            self.assertEqual(self.engine.rows("PRAGMA integrity_check"), [("ok",)])
            drive = self.drive()
            self.assertEqual(drive.do("open"), "ok ")
            self.assertEqual(drive.do("insert a@example.com"), "ok 2")

    def test_log_does_not_grow(self):
        """The write-ahead log is copied back now and then, also while other processes have the file open."""
        drives = [self.drive() for _ in range(2)]
        for drive in drives:
            self.assertEqual(drive.do("open"), "ok ")
        for i in range(1500):
            for drive in drives:
                drive.do(f"insert {i}.{drives.index(drive)}@example.com")
                drive.do("log x@example.com")
        self.assertLess(os.stat(self.engine.file + "-wal").st_size, 4 * 1024 * 4096)

    def test_older_tables(self):
        """One of the two tables is missing, a column is, values are odd: nothing is lost."""
        self.engine.sql("CREATE TABLE bley_status (ip, status, last_action, sender, recipient)")
        self.engine.sql("INSERT INTO bley_status VALUES ('2001:DB8::1', '2', 'no time', NULL, 'B@Example.org')")
        self.engine.sql("CREATE VIEW mine AS SELECT sender FROM bley_status")
        drive = self.drive()
        self.assertEqual(drive.do("init"), "ok ")
        [(ip, status, last_action, sender, recipient, count)] = self.engine.rows("SELECT * FROM bley_status")
        self.assertEqual(
            (ip, status, sender, recipient, count),
            ("2001:0db8:0000:0000:0000:0000:0000:0001", 2, "", "b@example.org", 0))
        self.assertLess(now() - datetime.datetime.fromisoformat(last_action), datetime.timedelta(minutes=2))
        self.assertEqual(self.engine.rows("SELECT * FROM bley_log"), [])
        self.assertEqual(self.engine.rows("SELECT * FROM mine"), [("",)])
