# SPDX-License-Identifier: BSD-3-Clause
"""Files that others can change are not believed, passwords stay where they are, and nothing that a peer says is more
than text."""

import os
import re
import shutil
import stat
import struct
import unittest

import bleytest

DEFER = "DEFER_IF_PERMIT greylisted, try again later"
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
SECRET = "Geh3im-und-einmalig"


class Files(bleytest.TestCase):
    """For lack of a log file that is believed, these look at standard error."""

    def setUp(self):
        super().setUp()
        self.conf = self.write_conf()

    def answers(self, *requests, conf=None, **options):
        handler = self.handler(conf, args=["-d"], **options)
        answers = [handler.ask_suspicious(**request) for request in requests]
        self.assertEqual(handler.finish(), 0)
        return answers, handler.errors()

    def assert_refused(self, conf, why, **options):
        answers, errors = self.answers({}, conf=conf, **options)
        self.assertEqual(answers, ["DUNNO"])
        self.assertIn(f"error: {conf}: cannot read the configuration: {why}", errors)
        self.assertFalse(os.path.exists(self.database()))

    def test_a_configuration_that_everybody_may_write(self):
        os.chmod(self.conf, 0o646)
        self.assert_refused(self.conf, f"everybody may write it: chmod o-w {self.conf}\n")
        checked = self.bleyctl("check")
        self.assertEqual(checked.returncode, 1)
        self.assertIn("configuration: WRONG", checked.stdout)
        self.assertIn(f"everybody may write it: chmod o-w {self.conf}\n", checked.stderr)

    def test_a_database_that_everybody_may_write(self):
        self.assertEqual(self.bleyctl("init").returncode, 0)
        for path, what in ((self.database(), "write"), (self.path("db"), "replace")):
            before = stat.S_IMODE(os.stat(path).st_mode)
            os.chmod(path, before | 0o002)
            checked = self.bleyctl("check")
            self.assertEqual(checked.returncode, 1)
            self.assertRegex(checked.stdout, f"(?m)^database: WRONG, .*everybody may {what} it: chmod o-w {path}$")
            os.chmod(path, before)
        self.assertIn("database: ok", self.bleyctl("check").stdout)

    def test_a_group_may_look_after_it(self):
        os.chmod(self.conf, 0o664)
        self.assertEqual(self.answers({})[0], [DEFER])

    def test_a_configuration_that_everybody_may_replace(self):
        os.makedirs(self.path("open/inner"))
        shutil.copy(self.conf, self.path("open/inner/bley.conf"))
        os.chmod(self.path("open"), 0o777)
        self.assert_refused(self.path("open/inner/bley.conf"), f"everybody may replace it: chmod o-w {self.path('open')}\n")
        os.chmod(self.path("open"), 0o1777)
        self.assertEqual(self.answers({}, conf=self.path("open/inner/bley.conf"))[0], [DEFER])

    def test_a_configuration_of_another_user(self):
        self.need("setpriv")
        self.need_root()
        os.chown(self.conf, 1, 0)
        self.assert_refused(self.conf, "it belongs to user id 1, neither root nor who bley runs as: chown root",
                            wrapper=AS_NOBODY, bley=bleytest.bley_for_all(self))
        self.assertIn("configuration: ok", self.bleyctl("check").stdout)

    def test_whitelists_that_everybody_may_write(self):
        self.write("whitelist_recipients", "spared@example.org\npostmaster@\n", 0o666)
        self.write("whitelist_clients", "203.0.113.7\n", 0o666)
        answers, errors = self.answers({"recipient": "spared@example.org"}, {"recipient": "postmaster@example.org"})
        self.assertEqual(answers, [DEFER, "DUNNO"])
        for name, without in (("recipients", "only postmaster@ is whitelisted"), ("clients", "no client is whitelisted")):
            path = self.path("whitelist_" + name)
            self.assertIn(f"warning: {path}: is not used: everybody may write it: chmod o-w {path}; {without}\n", errors)

    def test_a_module_that_others_may_write(self):
        program = self.copy_program()
        module = self.path("program/modules/store_sqlite.so")
        for mode in (0o775, 0o757):
            os.chmod(module, mode)
            answers, errors = self.answers({}, bley=program)
            self.assertEqual(answers, ["DUNNO"])
            self.assertIn(f"error: {module} is not loaded: it must belong to root or this user", errors)

    def test_a_module_that_others_may_replace(self):
        program = self.copy_program()
        for folder, mode in (("program/modules", 0o775), ("program/modules", 0o777), ("program", 0o777)):
            before = stat.S_IMODE(os.stat(self.path(folder)).st_mode)
            os.chmod(self.path(folder), mode)
            answers, errors = self.answers({}, bley=program)
            self.assertEqual(answers, ["DUNNO"])
            self.assertRegex(errors, f"error: {self.path('program/modules')} is not loaded: .*chmod (g|o)")
            os.chmod(self.path(folder), before)
        self.assertEqual(self.answers({}, bley=program)[0], [DEFER])

    def test_a_module_of_another_user(self):
        self.need_root()
        program = self.copy_program()
        os.chown(self.path("program/modules/store_sqlite.so"), 1, 0)
        answers, errors = self.answers({}, bley=program)
        self.assertEqual(answers, ["DUNNO"])
        self.assertIn("store_sqlite.so is not loaded: it must belong to root or this user", errors)

    def plant_journal(self, database, victim):
        """A journal that is to be rolled back, of a transaction over several files: when done, SQLite deletes the list of these,
        which is said to be the victim (https://www.sqlite.org/fileformat2.html#the_rollback_journal, and pager.c)."""
        name, magic = victim.encode(), bytes.fromhex("d9d505f920a163d7")
        header = magic + struct.pack("!IIIII", 0, 1, os.path.getsize(database) // 4096, 512, 4096)
        with open(database + "-journal", "wb") as stream:
            stream.write(header.ljust(512, b"\0") + struct.pack("!I", 1) + name + struct.pack("!II", len(name), sum(name)) + magic)
        shutil.chown(database + "-journal", 65534, 65534)

    def test_root_deletes_nothing(self):
        """Who has got hold of the user bley leaves a journal in its folder, and waits for root to look at the database."""
        self.need_root()
        self.assertEqual(self.bleyctl("init").returncode, 0)
        copy, victim = self.path("copy.db"), self.write("victim", "root's\n", 0o600)
        shutil.copy(self.database(), copy)
        self.plant_journal(copy, victim)
        self.rows("SELECT * FROM bley_log", database=copy)
        self.assertFalse(os.path.exists(victim))  # so root is not to open it
        self.write("victim", "root's\n", 0o600)
        os.chown(self.path("db"), 65534, 65534)
        os.chown(self.database(), 65534, 65534)
        commands = ("init", "list", "purge", "check", "stats", "why 192.0.2.1 a@b.example c@d.example", "forget --yes 192.0.2.1", "test requests",
                    "test --write requests")
        self.write("requests", bleytest.suspicious())
        for command in commands:
            self.plant_journal(self.database(), victim)
            self.bleyctl(*command.replace("requests", self.path("requests")).split())
            self.assertTrue(os.path.exists(victim), command)
            self.assertFalse(os.path.exists(self.database() + "-journal"), command)  # it has been opened
        self.plant_journal(self.database(), victim)
        self.run_program([bleytest.program("bleygraph"), "-c", self.conf, "-d", self.path("pictures")])
        self.assertTrue(os.path.exists(victim))
        # nor through a link of root's own to the database
        link = self.path("link.db")
        os.symlink(self.database(), link)
        self.conf = self.write_conf(dbpath=None, dbname=link)
        self.plant_journal(self.database(), victim)
        self.bleyctl("list")
        self.assertTrue(os.path.exists(victim))
        self.assertFalse(os.path.exists(self.database() + "-journal"))
        self.assertEqual({os.stat(os.path.join(self.path("db"), name)).st_uid for name in os.listdir(self.path("db"))}, {65534})

    def test_root_gives_nothing_away(self):
        """Who has got hold of the user bley makes links in its folder, and waits for root to purge."""
        self.need_root()
        self.assertEqual(self.bleyctl("init").returncode, 0)
        os.chown(self.path("db"), 65534, 65534)
        os.chown(self.database(), 65534, 65534)
        victim = self.write("victim", "root's\n", 0o600)
        lock = self.database() + "-purge"
        for link in (os.symlink, os.link):
            link(victim, lock)
            self.bleyctl("purge")
            self.assertEqual(os.stat(victim).st_uid, 0)
            os.unlink(lock)
        self.assertEqual(self.bleyctl("purge").returncode, 0)
        self.assertEqual(os.stat(lock).st_uid, 65534)


class Password(bleytest.TestCase):
    """Nothing listens at the port: whoever fails has something to tell."""

    COMMANDS = (["config"], ["check"], ["init"], ["list"], ["stats"], ["purge"], ["why", "192.0.2.1", "a@example.com", "b@example.org"])

    def assert_kept(self, kind, **keys):
        conf = self.write_conf(dbtype=kind, dbhost="127.0.0.1", dbport=bleytest.free_port(), dbpass=SECRET, db_timeout="1s",
                               **keys)
        os.chmod(conf, 0o640)
        handler = self.handler(conf, args=["-v"])
        self.assertEqual(handler.ask_suspicious(), "DUNNO")
        for name in ("cmdline", "environ"):
            with open(f"/proc/{handler.process.pid}/{name}", "rb") as stream:
                self.assertNotIn(SECRET.encode(), stream.read())
        handler.finish()
        said = handler.errors() + "\n".join(self.log_lines())
        self.assertRegex(said, "error: (PostgreSQL|MySQL) database")
        for command in self.COMMANDS:
            done = self.bleyctl(*command, conf=conf)
            said += done.stdout + done.stderr
        self.assertNotIn(SECRET, said)
        self.assertIn("dbpass = (hidden)\n", said)

    def test_postgresql(self):
        self.assert_kept("pgsql")

    def test_mysql(self):
        self.assert_kept("mysql")

    def test_mistakes_beside_it(self):
        """Misspelt, without `=`, in the wrong section, continued: told without the value."""
        text = (f"[bley]\ndbtype = pgsql\ndbpas = {SECRET}\ndbpass {SECRET}\ndbpass = x\n dbport = {SECRET}\n"
                f"[bleygraph]\ndbpass = {SECRET}\n[other]\ndbpass = {SECRET}\n")
        done = self.bleyctl("config", conf=self.write("wrong.conf", text, 0o640))
        self.assertGreater(len(done.stderr.splitlines()), 3)
        self.assertNotIn(SECRET, done.stdout + done.stderr)

    def test_everybody_can_read_it(self):
        conf = self.write_conf(dbtype="mysql", dbhost="127.0.0.1", dbport=bleytest.free_port(), dbpass=SECRET)
        warning = f"everybody can read this file with dbpass in it: chmod o= {conf}"
        self.assertIn(warning, self.bleyctl("check", conf=conf).stderr)
        handler = self.handler(conf)
        for _ in range(3):
            handler.ask()
        handler.finish()
        self.assertEqual(sum(warning in line for line in self.log_lines()), 1)
        os.chmod(conf, 0o640)
        self.assertNotIn(warning, self.bleyctl("check", conf=conf).stderr)


# Formats, SQL, shell, paths, log lines, the terminal (C0, DEL, C1 as UTF-8 and as a byte, direction, line separator).
HOSTILE = [
    b"%n%n%s%s%x%1$n", b"%(delta)s{}${PATH}`id`$(id)", b"'); DROP TABLE bley_status; --", b"../../../../etc/passwd",
    b"x action=DUNNO reason=whitelisted", b'quote" and back\\slash', b"\x1b[2J\x1b]0;title\x07", b"back\x08\x7fspace",
    b"\xc2\x9b31m", b"\x9b31m", b"line\xe2\x80\xa8separator", b"carriage\rreturn", b"\xff\xfe\x80", b"a" * 2000,
]


class Hostile(bleytest.TestCase):
    def assert_harmless(self, text):
        """No control characters (C0 but the newline, DEL, C1) nor line separators."""
        self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")

    def test_whatever_a_peer_says(self):
        conf = self.write_conf(cache_valid=0, use_spf=0)
        handler = self.handler(conf, args=["-v"])
        for value in HOSTILE:
            for name in ("sender", "recipient", "helo_name", "client_name", "instance", "protocol_name", "queue_id"):
                handler.send(bleytest.suspicious(**{"client_address": "203.0.113.9", name: value}))
                self.assertIn(handler.answer(), (DEFER, "DUNNO"))
            for data in (b"request=" + value, b"client_address=" + value, value + b"=x\n" + value):
                handler.send(data + b"\n\n")
                self.assertEqual(handler.answer(), "DUNNO")
        self.assertEqual(handler.finish(), 0)
        self.assertEqual(handler.errors(), "")

        lines = self.log_lines()
        self.assert_harmless("\n".join(lines))
        stamp = re.compile(r"^[0-9T:+-]+ bley\[\d+\]: ")
        self.assertEqual([line for line in lines if not stamp.match(line)], [])
        self.assertTrue([line for line in lines if "%n%n%s%s%x%1$n" in line])
        self.assertTrue([line for line in lines if ' helo_name="x action=dunno reason=whitelisted"' in line], lines[:60])
        # nothing but the database and the log was made, wherever
        self.assertEqual(sorted(os.listdir(self.tmp)), ["bley.conf", "db", "log", "whitelist_clients", "whitelist_recipients"])

        stored = self.rows("SELECT ip, sender, recipient FROM bley_status")
        self.assertIn("'); drop table bley_status; --", [sender for _, sender, _ in stored])
        for command in (["list"], ["list", "--json"], ["show", "203.0.113.9"], ["stats"]):
            done = self.bleyctl(*command, conf=conf)
            self.assertEqual(done.returncode, 0)
            self.assert_harmless(done.stdout + done.stderr)

    def test_what_an_administrator_passes_on(self):
        """bleyctl repeats what it was given; it may come from a log, or from a stranger's mail."""
        conf = self.write_conf()
        for value in ("\x1b[2J%n%s", "\x9b31m%x", "back\x08\x7f"):
            for command in (["why", "192.0.2.1", value, "b@example.org"], ["show", value], ["list", "--sender", value],
                            ["list", "--ip", value], ["forget", value], ["allow", value], [value], ["stats", "--since", value]):
                done = self.bleyctl(*command, conf=conf)
                self.assertIn(done.returncode, (0, 1, 2))
                self.assert_harmless(done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
