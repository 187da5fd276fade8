# SPDX-License-Identifier: BSD-3-Clause
"""What bley's integration tests share: a temporary folder, real programs that are started and stopped,
configurations, policy requests and a look into the database. Python's standard library only.

    class Basic(bleytest.TestCase):
        def test_clean(self):
            bley = self.handler(self.write_conf())
            self.assertEqual(bley.ask(), "DUNNO")
            self.assertEqual(len(self.rows("SELECT * FROM bley_status")), 1)
"""

import contextlib
import datetime
import errno
import glob
import os
import re
import select
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import tempfile
import threading
import time
import unittest

SRC = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BLEY_BUILD") or os.path.join(SRC, "build"))

# How long to wait for something that ought to happen at once, on a slow and busy machine.
PATIENCE = 30

# What bley has to be told where the tests run as root.
ALLOW_ROOT = ["--allow-root"] if os.geteuid() == 0 else []

# Postfix 3.7's attributes in its order (what smtpd_check_policy sends after RCPT TO).
REQUEST = (
    ("request", "smtpd_access_policy"),
    ("protocol_state", "RCPT"),
    ("protocol_name", "ESMTP"),
    ("client_address", "192.0.2.1"),
    ("client_name", "mail.example.com"),
    ("client_port", "40123"),
    ("reverse_client_name", "mail.example.com"),
    ("server_address", "198.51.100.25"),
    ("server_port", "25"),
    ("helo_name", "mail.example.com"),
    ("sender", "sender@example.com"),
    ("recipient", "recipient@example.org"),
    ("recipient_count", "0"),
    ("queue_id", ""),
    ("instance", "1a2b.5f3c9e00.d41d8.0"),
    ("size", "0"),
    ("etrn_domain", ""),
    ("stress", ""),
    ("sasl_method", ""),
    ("sasl_username", ""),
    ("sasl_sender", ""),
    ("ccert_subject", ""),
    ("ccert_issuer", ""),
    ("ccert_fingerprint", ""),
    ("ccert_pubkey_fingerprint", ""),
    ("encryption_protocol", ""),
    ("encryption_cipher", ""),
    ("encryption_keysize", "0"),
    ("policy_context", ""),
)

# A client that is greylisted without any DNS: its name is unknown, so HELO scores 2.
SUSPICIOUS = {
    "client_address": "203.0.113.7",
    "client_name": "unknown",
    "reverse_client_name": "unknown",
    "helo_name": "friend",
    "sender": "spammer@example.net",
}


def program(name):
    """The path of one of bley's own programs in the build folder."""
    return os.path.join(BUILD, name)


def in_threads(function, arguments):
    """Calls it with each tuple of arguments, all at the same time; what one of the calls raises is raised here."""
    wrong = []

    def run(call):
        try:
            function(*call)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise wrong[0]


def instrumented():
    """Sanitizers and coverage need some of what is taken away (see configure), and memory of their own."""
    with open(os.path.join(BUILD, "config.h"), encoding="utf-8") as stream:
        return "define BLEY_INSTRUMENTED 1" in stream.read()


def reachable(path):
    """Whether every user may get to it and read it."""
    while path != "/":
        mode = os.stat(path).st_mode
        if not mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH):
            return False
        path = os.path.dirname(path)
    return True


def bley_for_all(test):
    """The path of a bley that any user may run: that of the build folder, or a copy with its modules."""
    path = program("bley")
    if reachable(path):
        return path
    copy = test.path("program")
    if not os.path.exists(copy):
        os.mkdir(copy, 0o755)
        shutil.copy(path, copy)
        shutil.copytree(os.path.join(BUILD, "modules"), os.path.join(copy, "modules"))
    return os.path.join(copy, "bley")


def find_program(name):
    """A program of the machine, or of a package that bootstrap has unpacked below the build folder; or None."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin")
    if found:
        return found
    for pattern in ("usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/*", "usr/lib/*/bin"):
        for path in sorted(glob.glob(os.path.join(BUILD, "roots", "*", pattern, name))):
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return path
    if name in ("initdb", "postgres", "pg_ctl"):  # Debian keeps them out of PATH
        found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
        if found:
            return found[-1]
    return None


def root_of(path):
    """The unpacked package's root (build/roots/NAME) that a program was found in, or None."""
    roots = os.path.join(BUILD, "roots") + os.sep
    if not path.startswith(roots):
        return None
    return roots + path[len(roots):].split(os.sep)[0]


def root_environment(path):
    """The environment in which a program out of an unpacked package finds its libraries."""
    env = dict(os.environ)
    root = root_of(path)
    if root:
        folders = glob.glob(os.path.join(root, "usr/lib/*-linux-*")) + glob.glob(os.path.join(root, "lib/*-linux-*"))
        env["LD_LIBRARY_PATH"] = ":".join(folders + [p for p in [env.get("LD_LIBRARY_PATH")] if p])
    return env


RESERVATIONS = []


def reserve_port(port):
    """Takes the number from all others that ask here, until this process ends: a name can be bound once."""
    reservation = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        reservation.bind(f"\0bley-test-port-{port}")
    except OSError:
        reservation.close()
        return False
    RESERVATIONS.append(reservation)
    return True


def free_port(kind=socket.SOCK_STREAM, host="127.0.0.1"):
    """A port that was free just now: one below the kernel's own range, so that no outgoing connection takes it."""
    for _ in range(200):
        port = 10000 + int.from_bytes(os.urandom(2), "big") % 22000
        if not reserve_port(port):
            continue
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as s:
            try:
                s.bind((host, port))
                return port
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
    raise RuntimeError("no free port found")


def attributes(changes):
    """The attributes of a request in Postfix's order: changes replace, None drops, new ones come last."""
    result = dict(REQUEST)
    result.update(changes)
    return {name: value for name, value in result.items() if value is not None}


def request(**changes):
    """A policy request as bytes. Values are str or bytes; None leaves the attribute out."""
    lines = []
    for name, value in attributes(changes).items():
        if not isinstance(value, bytes):
            value = str(value).encode()
        lines.append(name.encode() + b"=" + value + b"\n")
    return b"".join(lines) + b"\n"


def suspicious(**changes):
    """The same from a client that has to wait."""
    return request(**{**SUSPICIOUS, **changes})


class Conversation:
    """One connection that speaks the policy protocol; `sock` is a connected socket."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def send(self, data):
        self.sock.sendall(data)

    def recv(self, timeout=PATIENCE):
        """One answer as bytes, without the empty line that ends it; b"" at the end of the connection."""
        deadline = time.monotonic() + timeout
        while b"\n\n" not in self.buffer:
            if not select.select([self.sock], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise AssertionError(f"no answer within {timeout} s, only {self.buffer!r}")
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                rest, self.buffer = self.buffer, b""
                if rest:
                    raise AssertionError(f"the connection ended in the middle of an answer: {rest!r}")
                return b""
            self.buffer += data
        answer, self.buffer = self.buffer.split(b"\n\n", 1)
        return answer

    def answer(self, timeout=PATIENCE):
        """One answer's action as text; fails where none comes or it is none."""
        data = self.recv(timeout)
        if not data.startswith(b"action=") or b"\n" in data:
            raise AssertionError(f"no answer: {data!r}{self.last_words()}")
        return data[len(b"action="):].decode()

    def last_words(self):
        """What may explain that no answer came."""
        return ""

    def ask(self, **changes):
        """Sends a request (see REQUEST) and returns the action."""
        self.send(request(**changes))
        return self.answer()

    def ask_suspicious(self, **changes):
        self.send(suspicious(**changes))
        return self.answer()

    def at_end(self, timeout=PATIENCE):
        """Whether the other side has closed, with nothing more to read."""
        return self.recv(timeout) == b""

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()


class PolicyClient(Conversation):
    """A connection to a policy service: `host, port` or the path of a unix socket."""

    def __init__(self, address, timeout=PATIENCE):
        family = socket.AF_UNIX if isinstance(address, (str, bytes)) else socket.AF_INET
        if family == socket.AF_INET and ":" in address[0]:
            family = socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        super().__init__(sock)


class Handler(Conversation):
    """`bley -c CONF` on a socketpair as its standard input and output.

    stderr: "file" (its text comes from errors()), "socket" (as inetd does it), or anything Popen takes.
    VALGRIND in the environment, a command with its options, runs it (as in tests/run).
    """

    def __init__(self, conf, args=(), stderr="file", env=None, wrapper=(), bley=None, **popen):
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE)
        self._stderr = tempfile.TemporaryFile() if stderr == "file" else None
        try:
            self.process = subprocess.Popen(
                [*os.environ.get("VALGRIND", "").split(), *wrapper, bley or program("bley"), *ALLOW_ROOT,
                 *(["-c", conf] if conf else []), *args],
                stdin=theirs, stdout=theirs, env=env,
                stderr=self._stderr if stderr == "file" else theirs if stderr == "socket" else stderr,
                **popen,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        super().__init__(ours)

    def errors(self):
        """What it has written to standard error so far."""
        self._stderr.seek(0)
        return self._stderr.read().decode("utf-8", "replace")

    def last_words(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        return f", exit status {self.process.poll()}, on standard error {self.errors() if self._stderr else None!r}"

    def wait(self, timeout=PATIENCE):
        """Its exit status, once it has ended."""
        return self.process.wait(timeout)

    def finish(self):
        """Half-closes, reads to the end, and returns the exit status."""
        try:
            self.half_close()
        except OSError:
            pass
        while self.recv():
            pass
        status = self.wait()
        self.sock.close()
        return status

    def stop(self):
        """For cleanups: whatever state it is in, afterwards it is gone."""
        self.sock.close()
        stop(self.process)
        if self._stderr:
            self._stderr.close()


def thread_states(pid):
    """The letters that /proc has for the states of a process' threads."""
    states = set()
    for path in glob.glob(f"/proc/{pid}/task/*/stat"):
        with open(path, encoding="utf-8", errors="replace") as stream:
            states.add(stream.read().rpartition(")")[2].split()[0])
    return states


def stop(process, timeout=10):
    """Ends a process that we have started: asks, waits, insists."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            try:
                stream.close()
            except BrokenPipeError:  # what was still to be written to it
                pass


class TestCase(unittest.TestCase):
    """Gives each test a folder of its own (self.tmp, open to other users) and cleans up after it."""

    maxDiff = None

    def setUp(self):
        super().setUp()
        # Never below a path too long for a unix socket's address (107 bytes).
        self.tmp = tempfile.mkdtemp(prefix="bley-")
        os.chmod(self.tmp, 0o755)
        self.addCleanup(shutil.rmtree, self.tmp, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.tmp, *names)

    def write(self, name, text, mode=0o644):
        """Writes a file below self.tmp and returns its path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path, mode)
        return path

    # --- programs

    def need(self, *names):
        """The programs' paths (one: the path itself). Skips the test where one is missing; with CI=true that is a failure."""
        paths = []
        for name in names:
            path = find_program(name)
            if path is None:
                if os.environ.get("CI") == "true":
                    self.fail(f"{name} is not installed here")
                self.skipTest(f"{name} is not installed")
            paths.append(path)
        return paths[0] if len(paths) == 1 else paths

    def need_root(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")

    def start(self, command, log=None, **popen):
        """Starts a program that is stopped at the test's end. Its output goes to self.tmp/LOG (default: its name)."""
        name = log or os.path.basename(command[0]) + ".out"
        if "stdout" not in popen or "stderr" not in popen:
            stream = open(self.path(name), "ab")
            self.addCleanup(stream.close)
            popen.setdefault("stdout", stream)
            popen.setdefault("stderr", stream)
        popen.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(command, **popen)
        self.addCleanup(stop, process)
        return process

    def run_program(self, command, timeout=PATIENCE * 2, **options):
        """Runs to its end; a CompletedProcess with text."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(command, timeout=timeout, capture_output=True, text=True, check=False, **options)

    def bleyctl(self, *args, conf=None, **options):
        conf = conf or self.path("bley.conf")
        return self.run_program([program("bleyctl"), "-c", conf, *args], **options)

    def wait_until(self, predicate, what="the condition", timeout=PATIENCE):
        """Waits for predicate() to be true and returns what it gave; fails after timeout seconds."""
        deadline = time.monotonic() + timeout
        pause = 0.002
        while True:
            value = predicate()
            if value:
                return value
            if time.monotonic() > deadline:
                self.fail(f"{what}: not within {timeout} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)

    def freeze(self, *pids):
        """Stops processes and waits until each of their threads stands still. The cleanup, if not thaw(), lets them go on."""
        self.addCleanup(self.thaw, *pids)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGSTOP)
                self.wait_until(lambda pid=pid: thread_states(pid) == {"T"}, f"process {pid} to stand still")
            except (ProcessLookupError, FileNotFoundError):
                pass  # it has ended by itself

    @staticmethod
    def thaw(*pids):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass

    def wait_for_port(self, port, host="127.0.0.1", process=None):
        """Waits until something listens there (without connecting where /proc can tell, so that no service is started)."""
        def listens():
            if process is not None and process.poll() is not None:
                self.fail(f"the program that was to listen on port {port} has ended with {process.returncode}")
            return port_listens(port, host)
        self.wait_until(listens, f"a listener on port {port}")

    # --- bley

    def write_conf(self, name="bley.conf", extra="", graph=None, **keys):
        """Writes a bley.conf in which nothing leaves the machine, changed by keys (None drops one); returns its path."""
        values = {
            "dbtype": "sqlite3",
            "dbpath": self.path("db"),
            "dbname": "bley.db",
            "log_file": self.path("log"),
            "dnsbl_threshold": 0,
            "dnswl_threshold": 0,
            "use_spf": 0,
            "whitelist_clients_file": self.path("whitelist_clients"),
            "whitelist_recipients_file": self.path("whitelist_recipients"),
        }
        values.update(keys)
        os.makedirs(self.path("db"), exist_ok=True)
        for key, text in (("whitelist_clients_file", ""), ("whitelist_recipients_file", "postmaster@\n")):
            if key not in keys and not os.path.exists(values[key]):
                self.write(os.path.basename(values[key]), text)
        lines = ["[bley]"] + [f"{key} = {value}" for key, value in values.items() if value is not None]
        if graph:
            lines += ["[bleygraph]"] + [f"{key} = {value}" for key, value in graph.items()]
        return self.write(name, "\n".join(lines) + "\n" + extra)

    def handler(self, conf=None, **options):
        """A Handler that is stopped at the test's end."""
        handler = Handler(conf or self.path("bley.conf"), **options)
        self.addCleanup(handler.stop)
        return handler

    def copy_program(self):
        """A bley of this test's own, program/bley, and program/modules; its path."""
        os.mkdir(self.path("program"))
        shutil.copy(program("bley"), self.path("program"))
        shutil.copytree(os.path.join(BUILD, "modules"), self.path("program/modules"))
        return self.path("program/bley")

    def client(self, address):
        """A PolicyClient that is closed at the test's end."""
        client = PolicyClient(address)
        self.addCleanup(client.close)
        return client

    # --- the SQLite database of write_conf()

    def database(self):
        return self.path("db", "bley.db")

    def rows(self, sql, parameters=(), database=None):
        """What a query gives, as a list of tuples."""
        connection = sqlite3.connect(database or self.database(), timeout=PATIENCE)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    def execute(self, sql, parameters=(), database=None):
        connection = sqlite3.connect(database or self.database(), timeout=PATIENCE)
        try:
            with connection:
                connection.execute(sql, parameters)
        finally:
            connection.close()

    def move_time(self, seconds, database=None):
        """Lets time pass: whatever bley_status and bley_cache remember happened that much earlier."""
        move_time(database or self.database(), seconds)

    def log_lines(self, name="log"):
        """The lines of the log file of write_conf()."""
        try:
            with open(self.path(name), encoding="utf-8") as stream:
                return stream.read().splitlines()
        except FileNotFoundError:
            return []

    def wait_for_log(self, pattern, name="log"):
        """Waits for a line of the log that matches the expression; returns the match."""
        def found():
            for line in self.log_lines(name):
                match = re.search(pattern, line)
                if match:
                    return match
            return None
        return self.wait_until(found, f"a log line like {pattern!r}")


def port_listens(port, host="127.0.0.1"):
    """Whether a TCP socket listens on a port of this network namespace."""
    found_table = False
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:
                lines = stream.read().splitlines()[1:]
        except OSError:
            continue
        found_table = True
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                return True
    if found_table:
        return False
    try:
        socket.create_connection((host, port), 1).close()
        return True
    except OSError:
        return False


def move_time(database, seconds):
    """Lets time pass in a SQLite database: what bley_status and bley_cache remember happened that much earlier."""

    def moved(value):
        """Times are text in UTC, with or without a fraction, as the Python daemon writes them."""
        moment = datetime.datetime.fromisoformat(value) - datetime.timedelta(seconds=seconds)
        return moment.isoformat(" ", "microseconds" if "." in value else "seconds")

    connection = sqlite3.connect(database, timeout=PATIENCE)
    try:
        connection.create_function("moved", 1, moved)
        with connection:
            for table in ("bley_status", "bley_cache"):
                connection.execute(f"UPDATE {table} SET last_action = moved(last_action)")
    finally:
        connection.close()
