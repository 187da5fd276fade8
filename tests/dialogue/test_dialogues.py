# SPDX-License-Identifier: BSD-3-Clause
"""Plays the conversations of tests/dialogue/*.dialogue with the real bley. Each section is a test.

A file is a list of sections, each with a fresh folder, database and configuration:

    ## what this shows               a section; what stands before the first holds for all of the file
    # a comment
    config KEY = VALUE               a line of bley.conf
    conf LINE                        a line as it stands (or a "string"), at the end of bley.conf
    clients ENTRY                    a line of the clients' whitelist
    recipients ENTRY                 a line of the recipients' whitelist (with none of these: `postmaster@`)
    no clients | no recipients       that file does not exist
    zone NAME TYPE DATA              a record that bley's name servers know (real ones, see tests/lib/dnsnet.py)
    state TABLE: COLUMNS             a row that is in the database at the start, see below

    > bad from=x@example.net         sends a request: `bad` or `good` (a client that is suspicious or not), with
                                     ip= name= helo= from= to= or any attribute's name set, or -NAME left out;
                                     several such lines in a row go out together
    raw TEXT                         the same with bytes as they stand here
    < ACTION                         the answer; `<~ REGEX` one that matches; `< end` the end of the connection
    half-close                       no more comes from the mail server
    + 29m                            time passes: 1d2h3m4s, less what stands behind a minus sign (29m-1s)
    write FILE TEXT                  puts TEXT into a file of the test's folder
    exit STATUS                      the status at the end, 0 where nothing is said
    = TABLE: nothing                 what the table holds now: this, or these rows, in any order
    = TABLE: COLUMNS
    log: REGEX                       a line of the log by now or soon
    nolog: REGEX                     there is none in the end

`2>`, `2<` and so on speak to a second handler. A value is one word or a "string" with Python's escapes.
Columns: bley_status: IP STATUS AGE SENDER RECIPIENT FAIL_COUNT; bley_cache: IP STATUS AGE;
bley_log: ACTION IP SENDER RECIPIENT, then the check columns as NAME=SCORE, those not named being 0 (db: -1).
An age is a time as above or `now`; `*` is anything; `<>` is the null sender.

A warning or error in the log that no `log:` line expects makes the test fail, and so does an answer too many.
"""

import ast
import collections
import datetime
import glob
import itertools
import os
import re
import shutil
import sqlite3
import tempfile
import time
import unittest

import bleytest
import dnsnet

HERE = os.path.dirname(os.path.abspath(__file__))

CLIENTS = {
    "bad": {"ip": "203.0.113.7", "name": "unknown", "helo": "friend"},
    "good": {"ip": "192.0.2.1", "name": "mail.example.com", "helo": "mail.example.com"},
}
ENVELOPE = {"from": "a@example.net", "to": "b@example.org"}
SHORT = {"ip": "client_address", "name": "client_name", "helo": "helo_name", "from": "sender", "to": "recipient"}

CHECKS = ("dnswl", "dnsbl", "helo", "dyn", "db", "spf", "s_eq_r", "postmaster", "cache")

# A stored time is taken to be the expected one when it is no further away than this.
AGE_SLACK = 20
# A step that hangs on a second cannot be judged on a machine that stood still for one: then play it again.
STEADY = 0.9
TRIES = 4

Section = collections.namedtuple("Section", "file line title steps")


class Wrong(AssertionError):
    """A dialogue that is itself wrong."""


# --- reading ------------------------------------------------------------------------------------------


def read_sections(path):
    common, sections, steps = [], [], None
    with open(path, encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            line = line.rstrip("\n")
            if line.startswith("## "):
                steps = list(common)
                sections.append(Section(os.path.basename(path), number, line[3:].strip(), steps))
            elif line.strip() and not line.startswith("#"):
                (common if steps is None else steps).append((number, line))
    return sections


def text_of(word):
    """A word, or a "string" with escapes; bytes, so that \\xff is the byte."""
    if word.startswith('"'):
        return ast.literal_eval("b" + ascii_only(word)) if len(word) > 1 and word.endswith('"') else bad_word(word)
    return word.encode()


def ascii_only(word):
    """The same literal with each byte of its UTF-8 beyond ASCII as an escape."""
    return "".join(chr(b) if b < 128 else f"\\x{b:02x}" for b in word.encode())


def bad_word(word):
    raise Wrong(f"no string: {word}")


def words_of(text):
    """Splits at blanks outside of strings."""
    return re.findall(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+', text)


def duration(text):
    """Seconds of `29m`, `1h5s`, `29m-1s`, `now`."""
    if text == "now":
        return 0
    total = 0
    for sign, part in zip([1, -1], text.split("-", 1)):
        if not re.fullmatch(r"(\d+[dhms])+", part):
            raise Wrong(f"no time: {text}")
        for number, unit in re.findall(r"(\d+)([dhms])", part):
            total += sign * int(number) * {"d": 86400, "h": 3600, "m": 60, "s": 1}[unit]
    return total


_instances = itertools.count(1)


def request_of(words):
    """The request's bytes; each is about a message of its own, unless instance= says otherwise."""
    if not words or words[0] not in CLIENTS:
        raise Wrong(f"a request begins with one of {', '.join(CLIENTS)}")
    changes = {SHORT[k]: v for k, v in {**CLIENTS[words[0]], **ENVELOPE}.items()}
    changes["instance"] = f"1a2b.{next(_instances)}"
    for word in words[1:]:
        if word.startswith("-"):
            changes[SHORT.get(word[1:], word[1:])] = None
            continue
        name, equals, value = word.partition("=")
        if not equals:
            raise Wrong(f"neither name=value nor -name: {word}")
        changes[SHORT.get(name, name)] = text_of(value)
    return bleytest.request(**changes)


# --- the database -------------------------------------------------------------------------------------

STATUS_SQL = "SELECT ip, status, last_action, sender, recipient, fail_count FROM bley_status"
CACHE_SQL = "SELECT ip, status, last_action FROM bley_cache"
LOG_SQL = ("SELECT action, ip, sender, recipient, check_dnswl, check_dnsbl, check_helo, check_dyn, check_db, check_spf,"
           " check_s_eq_r, check_postmaster, check_cache, logtime FROM bley_log")
TABLES = {"bley_status": STATUS_SQL, "bley_cache": CACHE_SQL, "bley_log": LOG_SQL}


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


def age_of(stored):
    return (utc_now() - datetime.datetime.fromisoformat(stored)).total_seconds()


def column(word):
    return "" if word == "<>" else text_of(word).decode()


def row_of(table, text):
    """The expected row: each column's text, a number for an age, None for anything."""
    words = words_of(text)
    if table == "bley_log":
        scores = dict.fromkeys(CHECKS, 0)
        scores["db"] = -1
        for word in words[4:]:
            name, _, score = word.partition("=")
            if name not in scores:
                raise Wrong(f"no check: {name}")
            scores[name] = int(score)
        plain, age = words[:4], "now"
        width = 4
    else:
        scores = {}
        plain, age = words[:2] + words[3:], words[2] if len(words) > 2 else ""
        width = 5 if table == "bley_status" else 2
    if len(plain) != width:
        raise Wrong(f"{table} wants {width} columns besides the time: {text}")
    values = [None if word == "*" else column(word) for word in plain] + [str(scores[name]) for name in scores]
    return values, None if age == "*" else duration(age)


def row_like(table, expected, row):
    values, age = expected
    if table == "bley_log":
        found, stored = row[:-1], row[-1]
    else:
        found, stored = row[:2] + row[3:], row[2]
    return all(v is None or v == str(f) for v, f in zip(values, found)) and (
        age is None or abs(age_of(stored) - age) < AGE_SLACK)


def rows_like(table, expected, rows):
    rest = list(rows)
    for want in expected:
        match = next((row for row in rest if row_like(table, want, row)), None)
        if match is None:
            return False
        rest.remove(match)
    return not rest


def insert_sql(table, expected):
    values, age = expected
    moment = (utc_now() - datetime.timedelta(seconds=age)).isoformat(" ", "microseconds")
    if table == "bley_status":
        return ("INSERT INTO bley_status (ip, status, last_action, sender, recipient, fail_count) VALUES (?,?,?,?,?,?)",
                (values[0], int(values[1]), moment, values[2], values[3], int(values[4])))
    if table == "bley_cache":
        return "INSERT INTO bley_cache (ip, status, last_action) VALUES (?,?,?)", (values[0], int(values[1]), moment)
    raise Wrong(f"no state for {table}")


# --- playing ------------------------------------------------------------------------------------------


class Player:
    """One performance of a section."""

    SETUP = ("config", "conf", "clients", "recipients", "no", "zone", "state")

    def __init__(self, test, section):
        self.test = test
        self.section = section
        self.handlers = {}
        self.pending = {}
        self.status = 0
        self.expected_log = []
        self.unwanted_log = []
        self.last_rows = {}
        self.since = time.monotonic()
        self.slow = False

    def play(self):
        setup = [s for s in self.section.steps if self.word(s[1]) in self.SETUP]
        steps = [s for s in self.section.steps if self.word(s[1]) not in self.SETUP]
        self.set_up(setup)
        if not steps:
            raise Wrong("a section without a conversation")
        for index, (number, line) in enumerate(steps):
            self.at(number, self.step, line, [text for _, text in steps[index + 1:]])
        self.at(steps[-1][0], self.finish)

    @staticmethod
    def word(line):
        return line.split(None, 1)[0]

    def at(self, number, what, *arguments):
        try:
            what(*arguments)
        except AssertionError as error:
            if not hasattr(error, "told"):
                log = "\n    ".join(self.test.log_lines())
                error.args = (f"{self.section.file}:{number}: {error}\nthe log:\n    {log}",)
                error.told = True
            raise
        except (ValueError, IndexError, KeyError, SyntaxError) as error:
            raise Wrong(f"{self.section.file}:{number}: {error!r}") from error

    def set_up(self, lines):
        config, raw, zone, state = {}, [], [], []
        lists = {"clients": [], "recipients": []}
        missing = set()
        for number, line in lines:
            kind, _, rest = line.partition(" ")
            if kind == "config":
                key, _, value = rest.partition("=")
                config[key.strip()] = value.strip()
            elif kind == "conf":
                raw.append(text_of(rest).decode() if rest.startswith('"') else rest)
            elif kind in lists:
                lists[kind].append(rest)
            elif kind == "no":
                missing.add(rest.strip())
            elif kind == "zone":
                zone.append(rest)
            else:
                table, _, row = rest.partition(":")
                state.append((number, table.strip(), row.strip()))
        if zone:
            config["dns_servers"] = self.test.name_servers("".join(line + "\n" for line in zone))
        self.write_lists(lists, missing, config)
        self.test.write_conf(extra="".join(line + "\n" for line in raw), **config)
        shutil.copy(self.test.template(), self.test.database())
        for number, table, row in state:
            self.at(number, lambda t, r: self.test.execute(*insert_sql(t, row_of(t, r))), table, row)

    def write_lists(self, lists, missing, config):
        for name, entries in lists.items():
            file = self.test.path("whitelist_" + name)
            if name in missing:
                config[f"whitelist_{name}_file"] = file
            elif entries:
                self.test.write("whitelist_" + name, "".join(e + "\n" for e in entries))

    def handler(self, who):
        if who not in self.handlers:
            self.handlers[who] = self.test.handler()
        return self.handlers[who]

    def step(self, line, following):
        match = re.match(r"(\d?)(>|<~|<)\s+(.*)", line)
        if match:
            who, mark, rest = match.groups()
            self.speak(who, mark, rest.rstrip(), following)
            return
        kind, _, rest = line.partition(" ")
        rest = rest.strip()
        if kind == "raw":
            self.send("", text_of(rest), following)
        elif kind == "half-close":
            self.handler("").half_close()
        elif kind == "+":
            self.test.move_time(duration(rest))
        elif kind == "write":
            name, _, text = rest.partition(" ")
            self.test.write(name, text_of(text))
        elif kind == "exit":
            self.status = int(rest)
        elif kind == "=":
            self.table(rest, following)
        elif kind == "log:":
            self.expected_log.append(rest)
            self.test.wait_for_log(rest)
        elif kind == "nolog:":
            self.unwanted_log.append(rest)
        else:
            raise Wrong(f"what is this? {line}")

    def send(self, who, data, following):
        """Lines that send right after another go out as one packet."""
        self.pending[who] = self.pending.get(who, b"") + data
        if not following or not re.match(re.escape(who) + r">|" + ("raw " if not who else r"\0"), following[0]):
            self.handler(who).send(self.pending.pop(who))

    def speak(self, who, mark, rest, following):
        if mark == ">":
            self.send(who, request_of(words_of(rest)), following)
        elif mark == "<" and rest == "end":
            self.test.assertTrue(self.handler(who).at_end())
        else:
            answer = self.handler(who).answer()
            if time.monotonic() - self.since > STEADY:
                self.slow = True
            if mark == "<":
                self.test.assertEqual(answer, rest)
            else:
                self.test.assertRegex(answer, f"^(?:{rest})$")

    def table(self, text, following):
        """Rows of one table on lines of their own are one statement about it."""
        table, _, row = text.partition(":")
        table = table.strip()
        if table not in TABLES:
            raise Wrong(f"no table: {table}")
        rows = self.last_rows.setdefault(table, [])
        if getattr(self, "open_table", None) != table:
            rows.clear()
        if row.strip() != "nothing":
            rows.append((row_of(table, row), row.strip()))
        more = bool(following) and following[0].startswith(f"= {table}:")
        self.open_table = table if more else None
        if not more:
            self.compare(table, wait=bool(rows))

    def compare(self, table, wait):
        expected = self.last_rows[table]
        deadline = time.monotonic() + (bleytest.PATIENCE if wait else 0)
        while True:
            found = self.test.rows(TABLES[table])
            if rows_like(table, [row for row, _ in expected], found):
                return
            if time.monotonic() > deadline or (table != "bley_log") or len(found) > len(expected):
                break
            time.sleep(0.005)
        wanted = "\n    ".join(text for _, text in expected) or "nothing"
        holds = "\n    ".join(" | ".join(map(str, row)) for row in found) or "nothing"
        self.test.fail(f"{table} was to hold\n    {wanted}\nbut holds\n    {holds}")

    def finish(self):
        for handler in self.handlers.values():
            self.test.assertEqual(self.silent_end(handler), b"", "an answer that nobody waited for")
        self.finish_handlers()
        for table in self.last_rows:
            self.compare(table, wait=False)
        for line in self.test.log_lines():
            for pattern in self.unwanted_log:
                self.test.assertNotRegex(line, pattern)
            if re.search(r"\]: (warning|error): ", line):
                self.test.assertTrue(any(re.search(p, line) for p in self.expected_log), f"unexpected in the log: {line}")

    def finish_handlers(self):
        for handler in self.handlers.values():
            self.test.assertEqual(handler.finish(), self.status, "exit status")
            self.test.assertEqual(handler.errors(), "", "on standard error")

    @staticmethod
    def silent_end(handler):
        try:
            handler.half_close()
        except OSError:
            pass  # it has closed already
        return handler.recv()


class Dialogue(bleytest.TestCase):
    section = None
    _template = None
    _folder = None
    _servers = {}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if Dialogue._folder is None:
            Dialogue._folder = tempfile.mkdtemp(prefix="bley-")
            unittest.addModuleCleanup(shutil.rmtree, Dialogue._folder, ignore_errors=True)

    def template(self):
        """An empty database as bley makes it, made once."""
        if Dialogue._template is None:
            path = os.path.join(Dialogue._folder, "template.db")
            conf = self.write_conf(name="template.conf", dbpath=Dialogue._folder, dbname="template.db", log_file="-")
            handler = self.handler(conf)
            handler.ask()
            self.assertEqual(handler.finish(), 0)
            connection = sqlite3.connect(path)
            with connection:
                for table in TABLES:
                    connection.execute(f"DELETE FROM {table}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
            Dialogue._template = path
        return Dialogue._template

    def name_servers(self, zone):
        """The address of name servers with this zone; they serve all the sections that have the same."""
        if zone not in Dialogue._servers:
            keeper = bleytest.TestCase()
            keeper.setUp()
            unittest.addModuleCleanup(keeper.doCleanups)
            Dialogue._servers[zone] = dnsnet.NameServers(keeper, zone).address
        return Dialogue._servers[zone]

    def perform(self, section):
        for attempt in range(TRIES):
            if attempt:
                self.doCleanups()
                self.setUp()
            player = Player(self, section)
            try:
                player.play()
                return
            except Wrong:
                raise
            except AssertionError:
                if player.slow and os.environ.get("VALGRIND"):
                    player.finish_handlers()  # all that can be judged at a tenth of the speed
                    return
                if not player.slow or attempt == TRIES - 1:
                    raise


def test_of(section):
    def test(self):
        self.perform(section)
    test.__doc__ = f"{section.file}:{section.line}: {section.title}"
    return test


def load(path):
    """A class for a file, a test for each of its sections."""
    name = re.sub(r"\W", "", os.path.basename(path).removesuffix(".dialogue").title())
    members = {"__module__": __name__}
    for section in read_sections(path):
        test = "test_" + re.sub(r"\W+", "_", section.title.lower()).strip("_")
        if test in members:
            raise Wrong(f"{section.file}:{section.line}: a title that was there before: {section.title}")
        members[test] = test_of(section)
    return type(name, (Dialogue,), members)


for file in sorted(glob.glob(os.path.join(HERE, "*.dialogue"))):
    _class = load(file)
    globals()[_class.__name__] = _class
del _class

if __name__ == "__main__":
    unittest.main()
