# SPDX-License-Identifier: BSD-3-Clause
"""The conformance cases (cases.c) as tests, one for each, for whatever engine.

A module for an engine writes a class with what the cases need beyond struct store_driver, and gets its tests:

    class Engine:
        type = "sqlite3"
        def fresh(self, test):     makes an empty database; returns the settings (SETTINGS) that differ
        def sql(self, statement):  runs it
        def rows(self, query):     a list of tuples; NULL is None
        def move(self, table, us): everything in bley_status, bley_cache or bley_log happened that much earlier
        def age(self, table, column, where): microseconds since then, of the one row
        def times(self, table, column, order): texts YYYY-MM-DD HH:MM:SS.ffffff, UTC
        def python(self):          fills the database with the Python daemon's (python*.sql)

    class Conformance(storetest.cases_for(Engine)): pass
"""

import os
import re
import socket
import subprocess
import threading

import bleytest

HERE = os.path.dirname(os.path.abspath(__file__))
CASE_SECONDS = 120

SETTINGS = {
    "BLEY_STORE_HOST": "localhost",
    "BLEY_STORE_PORT": "0",
    "BLEY_STORE_USER": "bley",
    "BLEY_STORE_PASSWORD": "bley",
    "BLEY_STORE_NAME": "bley",
    "BLEY_STORE_TLS": "prefer",
    "BLEY_STORE_TIMEOUT_MS": "30000",
    # what the Python daemon's times are local to
    "TZ": "Europe/Berlin",
}


class ServerEngine:
    """What engines share that are a server (tests/lib/servers.py) with a database."""

    server = None
    name = None

    def sql(self, statement):
        self.server.sql(statement, self.name)

    def rows(self, query):
        text = self.server.sql(query, self.name)
        return [tuple(None if value == "\\N" else value for value in line.split("\t")) for line in text.splitlines()]


def environment(engine, settings):
    return {**os.environ, **SETTINGS, "BLEY_STORE_TYPE": engine.type, **settings}


def case_names():
    with open(os.path.join(HERE, "cases.c"), encoding="utf-8") as stream:
        return [name for name in re.findall(r"\bCASE\((\w+)\)", stream.read()) if name != "name"]


def answer(engine, line):
    """What a case's question gives, as lines."""
    command, _, argument = line.partition(" ")
    if command == "sql":
        engine.sql(argument)
        return []
    if command == "rows":
        return ["|".join("NULL" if value is None else str(value) for value in row) for row in engine.rows(argument)]
    if command == "move":
        table, us = argument.split(" ")
        engine.move(table, int(us))
        return []
    if command == "age":
        return [str(engine.age(*argument.split(" ", 2)))]
    if command == "times":
        return engine.times(*argument.split(" ", 2))
    if command == "python":
        engine.python()
        return []
    raise ValueError(f"unknown question {line!r}")


def serve(engine, sock, errors):
    """Answers a case's questions to its end."""
    try:
        with sock, sock.makefile("rb") as questions:
            for line in questions:
                lines = answer(engine, line.decode().rstrip("\n"))
                sock.sendall("".join(text + "\n" for text in lines + [""]).encode())
    except Exception as error:  # told by the test that waits for the case
        errors.append(error)


class ConformanceCase(bleytest.TestCase):
    engine_class = None

    def run_case(self, name):
        engine = self.engine_class()
        settings = engine.fresh(self)
        ours, theirs = socket.socketpair()
        errors = []
        thread = threading.Thread(target=serve, args=(engine, ours, errors), daemon=True)
        with theirs:
            env = environment(engine, {**settings, "BLEY_STORE_FIXTURE": str(theirs.fileno())})
            process = self.start(
                [bleytest.program("tests/store/cases"), name], log="case.out", env=env, pass_fds=[theirs.fileno()])
        thread.start()
        try:
            status = process.wait(CASE_SECONDS)
        except subprocess.TimeoutExpired:
            status = f"not done after {CASE_SECONDS} s"
        with open(self.path("case.out"), encoding="utf-8", errors="replace") as stream:
            text = stream.read()
        if status != 0 or errors:
            self.fail(f"{name}: status {status}\n{text}" + "".join(f"\n{error!r}" for error in errors))


def cases_for(engine_class, names=""):
    """A class of tests, one for each case, or each of these."""
    def test_of(name):
        return lambda self: self.run_case(name)

    members = {f"test_{name}": test_of(name) for name in names.split() or case_names()}
    return type("Conformance", (ConformanceCase,), {**members, "engine_class": engine_class})


class Drive:
    """A store in a process of its own (drive.c), one operation after the other."""

    def __init__(self, engine, settings):
        self.process = subprocess.Popen(
            [bleytest.program("tests/store/drive")], env=environment(engine, settings), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)

    def send(self, operation):
        self.process.stdin.write(operation + "\n")
        self.process.stdin.flush()

    def result(self):
        return self.process.stdout.readline().rstrip("\n")

    def do(self, operation):
        self.send(operation)
        return self.result()

    def stop(self):
        bleytest.stop(self.process)
