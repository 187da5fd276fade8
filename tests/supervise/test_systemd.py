# SPDX-License-Identifier: BSD-3-Clause
"""The units that we ship, on a real systemd as process 1 (tests/lib/systemd1.py), as `make install` installs them."""

import inspect
import json
import os
import re
import select
import smtplib
import threading
import unittest

import bleytest
import servers
import systemd1

DEFER = "DEFER_IF_PERMIT greylisted, try again later"
PORT = 1337
SOCKET = "/run/bley/policy"
UNITS = ("bley.socket", "bley@.service", "bley-warm.socket", "bley-warm.service", "bley-purge.service", "bley-purge.timer",
         "bley-stats.service", "bley-stats.timer", "bley-graph.service", "bley-graph.timer")
SERVICES = ("bley@.service", "bley-warm.service", "bley-purge.service")
EXPOSURE = 15  # tenths, of systemd-analyze security

# What a handler must not be able to do, tried from within its sandbox; the outcome goes to the client.
PROBE = r"""
import ctypes, json, os, socket, sqlite3, sys

def attempt(action):
    try:
        return str(action())
    except OSError as error:
        return "E" + str(error.errno)

def write(path):
    def action():
        with open(path, "w") as stream:
            stream.write("x")
        os.unlink(path)
        return "written"
    return action

def call(name, *args):
    libc = ctypes.CDLL(None, use_errno=True)
    def action():
        if getattr(libc, name)(*args) in (-1, 2 ** 64 - 1):
            raise OSError(ctypes.get_errno(), name)
        return "done"
    return action

def execute():
    pid = os.fork()
    if pid == 0:
        try:
            os.execv("/bin/true", ["true"])
        except OSError as error:
            os._exit(error.errno)
    return "exit " + str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

def connect(family, address):
    def action():
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.connect(address)
        return "connected"
    return action

def resolve():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", 5353))
        s.send(b"question")
    return "sent"

def writable_and_executable():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_long
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    if libc.mmap(None, 4096, 7, 0x22, -1, 0) == -1:
        raise OSError(ctypes.get_errno(), "mmap")
    return "mapped"

result = {
    "uid": os.getuid(),
    "state": attempt(write("@state@/probe")),
    "usr": attempt(write("/usr/probe")),
    "etc": attempt(write("/etc/probe")),
    "var": attempt(write("/var/lib/probe")),
    "run": attempt(write("/run/probe")),
    "home": attempt(lambda: os.listdir("/root")),
    "shadow": attempt(lambda: open("/etc/shadow").read()),
    "tmp": attempt(lambda: os.path.exists("/tmp/outside")),
    "processes": sorted({open("/proc/%s/comm" % p).read().strip() for p in os.listdir("/proc") if p.isdigit()}),
    "devices": attempt(lambda: open("/dev/tty").close()),
    "exec": attempt(execute),
    "raw": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "netlink": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "unshare": attempt(call("unshare", 0x10000000)),
    "mount": attempt(call("mount", b"none", b"/mnt", b"tmpfs", 0, None)),
    "chroot": attempt(call("chroot", b"/tmp")),
    "wx": attempt(writable_and_executable),
    "unix": attempt(connect(socket.AF_UNIX, "/run/database")),
    "tcp": attempt(connect(socket.AF_INET, ("127.0.0.1", 5432))),
    "dns": attempt(resolve),
    "journal": attempt(connect(socket.AF_UNIX, "/run/systemd/journal/stdout")),
}
sys.stdout.write("action=" + json.dumps(result) + "\n\n")
"""

# Two servers as a database's are: on a unix socket and on a port.
SERVERS = r"""
import select, socket
u = socket.socket(socket.AF_UNIX); u.bind("/run/database"); u.listen()
import os; os.chmod("/run/database", 0o666)
t = socket.socket(); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); t.bind(("127.0.0.1", 5432)); t.listen()
while True:
    for s in select.select([u, t], [], [])[0]:
        s.accept()[0].close()
"""


def setUpModule():
    global system, ETC, STATE
    system = systemd1.System()
    unittest.addModuleCleanup(system.stop)
    # where the installed bley looks, and the installed file says that the database is
    ETC = re.search(r"default: (\S+)/bley\.conf", system.run("bley", "--help")).group(1)
    with open(system.path(f"{ETC}/bley.conf"), encoding="utf-8") as stream:
        STATE = re.search(r"(?m)^dbpath = (.+)$", stream.read()).group(1)


def shipped(name):
    """An example as it is installed."""
    return os.path.join(bleytest.BUILD, "data", "conf", name)


def in_threads(actions):
    bleytest.in_threads(lambda action: action(), [(action,) for action in actions])


class Case(bleytest.TestCase):
    """Each test begins with nothing running, no database and no drop-ins."""

    def setUp(self):
        super().setUp()
        self.addCleanup(system.run, "sh", "-c", "systemctl stop 'bley*' probe.service; systemctl reset-failed;"
                        f" rm -rf {STATE}/* /run/systemd/system/bley* /run/systemd/system/probe*; systemctl daemon-reload", check=False)
        self.configure()

    def configure(self, **keys):
        values = {"dbpath": STATE, "log_file": "journal", "dnsbl_threshold": 0, "dnswl_threshold": 0, "use_spf": 0,
                  "cache_valid": 0, "db_timeout": 30, **keys}
        system.write(f"{ETC}/bley.conf", "".join(["[bley]\n", *(f"{k} = {v}\n" for k, v in values.items())]))

    def drop_in(self, unit, text):
        system.write(f"/run/systemd/system/{unit}.d/test.conf", text)
        system.run("systemctl", "daemon-reload")

    def client(self, address=SOCKET):
        client = system.connect(address)
        self.addCleanup(client.close)
        return client

    def once(self, address=SOCKET, **changes):
        """A connection for one request, as Exim makes it."""
        client = system.connect(address)
        try:
            client.send(bleytest.suspicious(**changes))
            client.half_close()
            answer = client.answer()
            self.assertTrue(client.at_end())
            return answer
        finally:
            client.close()

    @staticmethod
    def python(code, *arguments):
        """Runs it within, as the database's user: SQLite does not open a file through /proc."""
        return system.run("setpriv", "--reuid=bley", "--regid=bley", "--clear-groups", "python3", "-c", code, *arguments)

    def rows(self, sql):
        out = self.python("import json, sqlite3, sys\n"
                          "rows = sqlite3.connect(sys.argv[1], timeout=30).execute(sys.argv[2]).fetchall()\n"
                          "print(json.dumps(rows))", f"{STATE}/bley.db", sql)
        return [tuple(row) for row in json.loads(out)]

    def move_time(self, seconds):
        self.python("import datetime, sqlite3, sys\nPATIENCE = 30\n" + inspect.getsource(bleytest.move_time) +
                    "move_time(sys.argv[1], int(sys.argv[2]))", f"{STATE}/bley.db", str(seconds))

    def state(self, unit):
        return system.show(unit, "ActiveState")

    def journal_has(self, count, *match):
        self.wait_until(lambda: len(system.journal(*match)) >= count, f"{count} entries {match} in the journal")
        return system.journal(*match)


class Units(Case):
    def test_they_verify_without_a_word(self):
        done = system.run("systemd-analyze", "verify", "--man=no",
                          *(unit.replace("@.", "@1.") for unit in UNITS), check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_exposure(self):
        for unit in SERVICES:
            with self.subTest(unit):
                path = system.show(unit.replace("@.", "@1."), "FragmentPath")
                done = system.run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager",
                                  path, check=False)
                self.assertEqual(done.returncode, 0, done.stdout)

    def test_user_and_folder(self):
        info = os.stat(system.path(STATE))
        user = int(system.run("id", "-u", "bley"))
        self.assertEqual((info.st_uid, info.st_mode & 0o777), (user, 0o750))

    def test_chroot_example(self):
        """The socket below Postfix's chroot, from the file that is shipped."""
        with open(shipped("systemd-postfix-chroot.conf"), encoding="utf-8") as stream:
            text = stream.read()
        self.drop_in("bley.socket", text)
        system.run("systemctl", "start", "bley.socket")
        self.assertEqual(self.once("/var/spool/postfix/bley/policy"), DEFER)
        self.assertEqual(self.once(sender="2@example.net"), DEFER)


    def test_fast_example(self):
        """Nothing of it needs a mount name space, and what is left still makes a sandbox."""
        with open(shipped("systemd-fast.conf"), encoding="utf-8") as stream:
            self.drop_in("bley@.service", stream.read())
        system.run("systemctl", "start", "bley.socket")
        client = self.client()
        self.assertEqual(client.ask_suspicious(), DEFER)
        pid = system.show(system.run("systemctl", "list-units", "--plain", "--no-legend", "bley@*").split()[0], "MainPID")
        self.assertEqual(system.run("readlink", f"/proc/{pid}/ns/mnt"), system.run("readlink", "/proc/1/ns/mnt"))
        self.assertIn("Seccomp:\t2", system.run("cat", f"/proc/{pid}/status"))


class Sandbox(Case):
    """The one that bley makes itself is made within systemd's, too."""

    def test_within(self):
        for unit, listener, match in (("bley@.service", "bley.socket", "SYSLOG_IDENTIFIER=bley"),
                                      ("bley-warm.service", "bley-warm.socket", "_SYSTEMD_UNIT=bley-warm.service")):
            with self.subTest(unit):
                program = re.search(r"argv\[\]=(\S+)", system.show(unit.replace("@.", "@1."), "ExecStart")).group(1)
                self.drop_in(unit, f"[Service]\nExecStart=\nExecStart={program} -v\n")
                system.run("systemctl", "start", listener)
                self.assertEqual(self.once(sender=f"{listener}@example.net"), DEFER)
                self.journal_has(1, "MESSAGE=sandbox: files restricted, system calls restricted", match)
                system.run("systemctl", "stop", listener)


class Databases(Case):
    """The whole sandbox lets the real drivers through, to real servers: a unix socket and TCP."""

    def setUp(self):
        super().setUp()
        system.run("systemctl", "start", "bley.socket")

    def within(self, user, script):
        """Runs a shell script as this user of the system."""
        return system.run("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "sh", "-ec", script)

    def assert_decides(self, **keys):
        """On each address, and the rows are there."""
        for number, address in enumerate((SOCKET, PORT)):
            self.configure(dbuser="bley", dbpass="bley", dbname="bley", **keys)
            self.assertEqual(self.once(address, sender=f"{number}.{keys['dbport']}@example.net"), DEFER)

    def test_postgresql(self):
        if not servers.PostgreSQL.programs():
            self.need("initdb")
        programs = servers.PostgreSQL.programs()[0]
        system.run("install", "-d", "-o", "postgres", "-m", "755", "/run/pg")
        self.addCleanup(self.within, "postgres", f"cd /run/pg; {programs}/pg_ctl -D data -m immediate -w stop")
        self.within("postgres", f"cd /run/pg; {programs}/initdb -D data -A trust --no-sync -U postgres >log;"
                    f" {programs}/pg_ctl -D data -l log -w -o '-k /run/pg -p 5433 -c fsync=off' start >/dev/null;"
                    " psql -q -h /run/pg -p 5433 -U postgres -c 'CREATE ROLE bley LOGIN' -c 'CREATE DATABASE bley OWNER bley'")
        self.assert_decides(dbtype="pgsql", dbhost="/run/pg", dbport=5433)
        self.assert_decides(dbtype="pgsql", dbhost="127.0.0.1", dbport=5433)
        count = "psql -A -t -h /run/pg -p 5433 -U postgres -d bley -c 'SELECT count(*) FROM bley_status'"
        self.assertEqual(self.within("postgres", count).strip(), "2")
        system.run("systemctl", "start", "bley-purge.service")

    def test_mariadb(self):
        self.need("mariadbd", "mariadb-install-db")
        system.run("install", "-d", "-o", "mysql", "-m", "755", "/run/my")
        self.within("mysql", "cd /run/my; mariadb-install-db --no-defaults --datadir=/run/my/data"
                    " --auth-root-authentication-method=normal --skip-test-db --innodb-log-file-size=4M >log 2>&1;"
                    " mariadbd --no-defaults --datadir=/run/my/data --socket=/run/my/socket --port=3307 --bind-address=127.0.0.1"
                    " --pid-file=/run/my/pid --innodb-log-file-size=4M --skip-name-resolve >>log 2>&1 &"
                    " for i in $(seq 300); do mariadb-admin --no-defaults -uroot -S /run/my/socket ping >/dev/null 2>&1 && break;"
                    " sleep 0.1; done; mariadb --no-defaults -uroot -S /run/my/socket -e \"CREATE DATABASE bley; CREATE USER bley"
                    " IDENTIFIED BY 'bley', bley@localhost IDENTIFIED BY 'bley'; GRANT ALL ON bley.* TO bley, bley@localhost\"")
        self.addCleanup(self.within, "mysql", "kill $(cat /run/my/pid); while test -e /run/my/pid; do sleep 0.05; done")
        self.assert_decides(dbtype="mysql", dbhost="/run/my/socket", dbport=3307)
        self.assert_decides(dbtype="mysql", dbhost="127.0.0.1", dbport=3307)
        system.run("systemctl", "start", "bley-purge.service")


class Accepting(Case):
    """bley.socket: one handler per connection."""

    def setUp(self):
        super().setUp()
        system.run("systemctl", "start", "bley.socket")

    def test_a_conversation(self):
        for number, address in enumerate((PORT, SOCKET)):
            client = self.client(address)
            triplet = {"sender": f"{number}@example.net"}
            self.assertEqual(client.ask(client_address=f"192.0.2.{number}"), "DUNNO")
            self.assertEqual(client.ask_suspicious(**triplet), DEFER)
            self.move_time(1800)
            self.assertRegex(client.ask_suspicious(**triplet), "^PREPEND X-Greylist: delayed 18[0-9][0-9] seconds by bley-")
            client.half_close()
            self.assertTrue(client.at_end())
        self.wait_until(lambda: self.rows("SELECT count(*) FROM bley_log") == [(6,)], "six rows in the log")
        self.wait_until(lambda: not system.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "bley@*"),
                        "no instance left behind")

    def test_the_journal_has_the_fields(self):
        client = self.client()
        self.assertEqual(client.ask_suspicious(sender="field@example.net", instance="field.1"), DEFER)
        entry = self.journal_has(1, "BLEY_ACTION=DEFER_IF_PERMIT", "BLEY_SENDER=field@example.net")[0]
        expected = {"BLEY_CLIENT_ADDRESS": "203.0.113.7", "BLEY_CLIENT_NAME": "unknown", "BLEY_HELO": "friend",
                    "BLEY_RECIPIENT": "recipient@example.org", "BLEY_INSTANCE": "field.1", "BLEY_SCORE_HELO": "2",
                    "SYSLOG_IDENTIFIER": "bley", "PRIORITY": "6"}
        self.assertEqual({name: entry.get(name) for name in expected}, expected)
        self.assertRegex(entry["BLEY_REASON"], r"^suspicious: HELO 2 \(.+\)")
        self.assertRegex(entry["_SYSTEMD_UNIT"], r"^bley@.*\.service$")
        self.assertTrue(entry["MESSAGE"].startswith("decided action=DEFER_IF_PERMIT reason="), entry["MESSAGE"])
        client.ask_suspicious(sender="field@example.net", instance="field.2")
        early = self.journal_has(1, "BLEY_INSTANCE=field.2")[0]
        self.assertRegex(early["BLEY_REASON"], "^greylisted, back too early, [0-9]+ s still to wait$")
        self.assertEqual(early["BLEY_WAITED"], "0")

    def test_logcheck_knows_the_lines(self):
        with open(shipped("logcheck.ignore"), encoding="utf-8") as stream:
            system.write("/run/rules", stream.read())
        client = self.client()
        client.ask()
        client.ask_suspicious(sender="logcheck@example.net")
        client.ask(sender=None)
        client.ask_suspicious(sender="logcheck@example.net")
        pid = self.journal_has(1, "BLEY_SENDER=logcheck@example.net", "BLEY_WAITED=0")[-1]["_PID"]
        lines = system.run("journalctl", "-q", "--no-pager", "-o", "short", f"_PID={pid}")
        self.assertEqual(len(lines.splitlines()), 4, lines)
        system.write("/run/lines", lines)
        self.assertEqual(system.run("grep", "-Evf", "/run/rules", "/run/lines", check=False).stdout, "")

    def test_the_journal_hangs(self):
        """journald, stopped, takes no entry, nor does it as syslog. All are answered, and what is lost is told."""
        client, asked = self.client(), 2000  # more than its queues hold
        self.assertEqual(client.ask(), "DUNNO")
        cursor = self.journal_has(1, "BLEY_ACTION=DUNNO")[-1]["__CURSOR"]
        journald = system.show("systemd-journald.service", "MainPID")
        system.run("kill", "-STOP", journald)
        try:
            for _ in range(asked):
                self.assertEqual(client.ask(), "DUNNO")
        finally:
            system.run("kill", "-CONT", journald)

        def lines():
            return [entry["MESSAGE"] for entry in system.journal("SYSLOG_IDENTIFIER=bley", f"--after-cursor={cursor}")]

        def lost():
            return sum(int(number) for number in re.findall(r"warning: (\d+) lines? lost while", "\n".join(lines())))

        def told():
            nonlocal asked
            asked += 1
            return client.ask() == "DUNNO" and lost()

        self.wait_until(told, "word of what was lost")
        self.wait_until(lambda: lost() + len([line for line in lines() if line.startswith("decided ")]) == asked, "all lines")

    def test_a_burst(self):
        """300 connections at once."""
        clients = [self.client(PORT if number % 2 else SOCKET) for number in range(300)]
        for number, client in enumerate(clients):
            client.send(bleytest.suspicious(sender=f"{number}@example.net"))
            client.half_close()
        for client in clients:
            self.assertEqual(client.answer(60), DEFER)
        self.assertEqual(self.state("bley.socket"), "active")
        self.assertEqual(self.once(sender="after@example.net"), DEFER)

    def test_lasting_connections(self):
        """More of them than systemd's own limit of 64."""
        clients = [self.client() for _ in range(100)]
        for client in clients:
            client.send(bleytest.request())
        for client in clients:
            self.assertEqual(client.answer(60), "DUNNO")
        self.assertEqual(system.show("bley.socket", "NConnections"), "100")
        for client in clients:
            self.assertEqual(client.ask(), "DUNNO")

    def test_restart_under_traffic(self):
        """Who has a connection keeps it; who finds none comes again."""
        lasting, done = [self.client() for _ in range(4)], threading.Event()

        def keep(client):
            while not done.is_set():
                self.assertEqual(client.ask(), "DUNNO")

        def restart():
            try:
                for _ in range(3):
                    system.run("systemctl", "restart", "bley.socket")
                    self.wait_until(lambda: self.state("bley.socket") == "active", "the socket")
            finally:
                done.set()

        for client in lasting:
            client.ask()
        in_threads([restart, *(lambda client=client: keep(client) for client in lasting)])
        self.assertEqual(self.once(), DEFER)

    def test_the_sandbox_holds(self):
        system.write("/probe.py", PROBE.replace("@state@", STATE))
        system.write("/servers.py", SERVERS)
        system.write("/tmp/outside", "")
        system.write("/run/systemd/system/probe.service", "[Service]\nExecStart=/usr/bin/python3 /servers.py\n")
        python = os.path.realpath("/usr/bin/python3")
        self.drop_in("bley@.service", f"[Service]\nExecPaths={python}\nExecStart=\nExecStart={python} /probe.py\n")
        system.run("systemctl", "start", "probe.service")
        self.wait_until(lambda: os.path.exists(system.path("/run/database")), "the servers")
        result = json.loads(self.client().answer())
        refused = {name: result.pop(name) for name in
                   ("usr", "etc", "var", "run", "home", "shadow", "exec", "raw", "netlink", "unshare", "mount", "chroot", "wx")}
        self.assertEqual({name for name, what in refused.items() if not re.fullmatch(r"E(1|13|30|97)|exit 13", what)}, set(), refused)
        self.assertEqual(result["processes"], ["python3"] if "python3" in result["processes"] else [os.path.basename(python)])
        self.assertEqual({name: result[name] for name in ("state", "tmp", "unix", "tcp", "dns", "journal")},
                         {"state": "written", "tmp": "False", "unix": "connected", "tcp": "connected", "dns": "sent",
                          "journal": "connected"})
        self.assertNotEqual(result["uid"], 0)


class Warm(Case):
    """bley-warm.socket: bley accepts by itself."""

    def setUp(self):
        super().setUp()
        system.run("systemctl", "start", "bley-warm.socket")

    def parent(self):
        return int(system.show("bley-warm.service", "MainPID"))

    def test_mixed_connections(self):
        """100 of them: half last, half come for one request."""
        lasting = [self.client(PORT if number % 2 else SOCKET) for number in range(50)]

        def keep(client, number):
            for request in range(4):
                self.assertEqual(client.ask_suspicious(sender=f"l{number}.{request}@example.net"), DEFER)

        def come_and_go(number):
            for request in range(4):
                self.assertEqual(self.once(PORT if number % 2 else SOCKET, sender=f"o{number}.{request}@example.net"), DEFER)

        in_threads([lambda c=client, n=number: keep(c, n) for number, client in enumerate(lasting)] +
                   [lambda n=number: come_and_go(n) for number in range(50)])
        self.assertEqual(self.rows("SELECT count(*) FROM bley_status"), [(400,)])
        self.assertEqual(system.show("bley-warm.service", "Type"), "notify")
        self.wait_until(lambda: re.match("50 handlers serving, [1-9][0-9]* waiting, 250 connections",
                                         system.show("bley-warm.service", "StatusText")), "the status line")

    def test_killed_children(self):
        clients = [self.client() for _ in range(4)]
        for client in clients:
            self.assertEqual(client.ask(), "DUNNO")
        parent = self.parent()
        victim = self.journal_has(4, "BLEY_ACTION=DUNNO", f"_SYSTEMD_INVOCATION_ID={system.show('bley-warm.service', 'InvocationID')}")
        system.run("kill", "-KILL", victim[0]["_PID"])
        self.wait_until(lambda: system.journal("_PID=" + str(parent), "PRIORITY=3"), "the parent's word on it")
        self.assertEqual(sum(not client.sock.recv(1) for client in clients if self.is_over(client)), 1)
        self.assertEqual(self.once(), DEFER)
        self.assertEqual(self.parent(), parent)

    @staticmethod
    def is_over(client):
        return bool(select.select([client.sock], [], [], 0)[0])

    def test_a_killed_parent(self):
        client = self.client()
        self.assertEqual(client.ask(), "DUNNO")
        parent = self.parent()
        system.run("kill", "-KILL", str(parent))
        self.assertTrue(client.at_end())
        self.wait_until(lambda: self.parent() not in (0, parent), "a new parent")
        self.assertEqual(self.once(), DEFER)
        self.assertEqual(self.state("bley-warm.socket"), "active")

    def test_idle_exit_and_return(self):
        self.configure(idle_exit="1s")
        self.assertEqual(self.once(), DEFER)
        self.wait_until(lambda: self.state("bley-warm.service") == "inactive", "the end")
        self.assertEqual(system.show("bley-warm.service", "Result"), "success")
        self.assertEqual(self.once(sender="2@example.net"), DEFER)

    def test_restart_under_traffic(self):
        """The sockets stay open: a connection that comes meanwhile waits. Who is answered nothing, as his connection had been
        taken and his request was still to come, asks again."""
        done = threading.Event()

        def ask(sender):
            client = system.connect(SOCKET)
            try:
                client.send(bleytest.suspicious(sender=sender))
                client.half_close()
                return client.recv()
            except ConnectionError:
                return b""
            finally:
                client.close()

        def come_and_go(number):
            request = 0
            while not done.is_set():
                sender = f"{number}.{request}@example.net"
                self.assertEqual(self.wait_until(lambda sender=sender: ask(sender), "an answer"), b"action=" + DEFER.encode())
                request += 1

        def restart():
            try:
                for _ in range(3):
                    system.run("systemctl", "restart", "bley-warm.service")
            finally:
                done.set()

        self.assertEqual(self.once(), DEFER)
        in_threads([restart, *(lambda n=n: come_and_go(n) for n in range(4))])

    def test_reload(self):
        self.assertEqual(self.once(), DEFER)
        self.configure(reject_msg="come back")
        system.run("systemctl", "reload", "bley-warm.service")
        self.wait_until(lambda: self.once(sender="2@example.net") == "DEFER_IF_PERMIT come back", "the new settings")

    def test_instead_of_the_other(self):
        system.run("systemctl", "start", "bley.socket")
        self.assertEqual(self.state("bley-warm.socket"), "inactive")
        self.assertEqual(self.once(), DEFER)


class Purging(Case):
    def test_the_timer_fires_and_purges(self):
        system.run("systemctl", "start", "bley.socket")
        self.assertEqual(self.once(), DEFER)
        self.move_time(50 * 86400)
        self.assertEqual(self.once(sender="new@example.net"), DEFER)
        self.drop_in("bley-purge.timer", "[Timer]\nOnCalendar=\nOnActiveSec=100ms\nRandomizedDelaySec=0\nAccuracySec=1ms\n")
        system.run("systemctl", "start", "bley-purge.timer")
        self.wait_until(lambda: self.rows("SELECT sender FROM bley_status") == [("new@example.net",)], "the purge")
        self.wait_until(lambda: self.state("bley-purge.service") == "inactive", "its end")
        self.assertEqual(system.show("bley-purge.service", "Result"), "success")

    def test_it_is_daily(self):
        lines = system.run("systemd-analyze", "calendar", "*-*-* 04:00:00")
        self.assertIn("Next elapse", lines)
        self.assertIn("*-*-* 04:00:00", system.run("systemctl", "cat", "bley-purge.timer"))


class Counting(Case):
    FOLDER = "/var/lib/prometheus/node-exporter"

    def count(self):
        system.run("systemctl", "start", "bley-stats.service", check=False)
        self.assertEqual(system.show("bley-stats.service", "Result"), "success", system.journal("_SYSTEMD_UNIT=bley-stats.service"))
        return system.run("cat", f"{self.FOLDER}/bley.prom")

    def test_the_service_counts(self):
        """For a node_exporter whose user the folder belongs to; what that user puts there leads root nowhere."""
        system.run("install", "-d", "-o", "nobody", self.FOLDER)
        system.run("setpriv", "--reuid=bley", "--regid=bley", "--clear-groups", "bleyctl", "init")
        first = self.count()
        self.assertRegex(first, r"(?m)^bley_accepted 0$")
        self.assertEqual(system.run("stat", "-c", "%a %U", f"{self.FOLDER}/bley.prom"), "644 root\n")
        for name in ("bley.prom", "bley.prom.new"):
            system.run("sh", "-ec", f"echo mine > /victim; ln -sf /victim {self.FOLDER}/{name}")
            self.assertEqual(self.count().splitlines()[0], first.splitlines()[0])
            self.assertEqual(system.run("cat", "/victim"), "mine\n")
            self.assertEqual(system.run("ls", self.FOLDER), "bley.prom\n")


class Drawing(Case):
    def test_the_service_draws(self):
        self.need("gnuplot")
        system.run("setpriv", "--reuid=bley", "--regid=bley", "--clear-groups", "bleyctl", "init")
        system.run("systemctl", "start", "bley-graph.service", check=False)
        # where coverage is measured, and out of reach here, that is told
        lines = [line for line in system.journal("_SYSTEMD_UNIT=bley-graph.service") if not line["MESSAGE"].startswith("profiling:")]
        self.assertEqual((system.show("bley-graph.service", "Result"), lines), ("success", []))
        # as a web server's user
        names = system.run("setpriv", "--reuid=33", "--regid=33", "--clear-groups", "sh", "-ec",
                           "cd /var/cache/bley/stats; cat * | wc -c; ls").split()
        self.assertGreater(int(names.pop(0)), 100000)
        self.assertEqual(len(names), 61, names)
        self.assertIn("index.html", names)


def readme(section):
    """The indented blocks of a section of the README, each a list of lines without their comments."""
    with open(os.path.join(bleytest.SRC, "README.md"), encoding="utf-8") as stream:
        text = stream.read().split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?m)(?:^    .*\n)+", text)
    return [[line[4:].split("  # ")[0].rstrip() for line in block.splitlines()] for block in blocks]


class Readme(Case):
    """A newcomer's way: what the README says, as it stands there, where `make install` has been run."""

    POSTFIX = """\
compatibility_level = 3.6
myhostname = mx.test.example
mydestination = test.example
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
alias_maps =
disable_dns_lookups = yes
smtpd_peername_lookup = no
"""
    SERVER, CLIENT = "203.0.113.1", "203.0.113.7"

    def follow(self, *blocks):
        for line in (line for block in blocks for line in block):
            if line.startswith(("systemd-", "systemctl", "runuser")):
                system.run("sh", "-c", line)

    def setUp(self):
        super().setUp()
        self.addCleanup(system.run, "systemctl", "disable", "bley.socket", "bley-warm.socket", "bley-purge.timer", check=False)
        self.configure(greylist_period=1)

    def deliver(self):
        """One attempt to deliver a mail; the answer to RCPT or to the mail itself."""
        systemd1.set_namespace(system.network)
        try:
            session = smtplib.SMTP(self.SERVER, 25, "friend", 2 * bleytest.PATIENCE, (self.CLIENT, 0))
        finally:
            systemd1.set_namespace(system.outside)
        with session:
            session.ehlo()
            session.mail("a@example.net")
            answer = session.rcpt("nobody@test.example")
            return session.data("Subject: here\r\n\r\nat last\r\n") if answer[0] == 250 else answer

    def test_postfix(self):
        self.need("postfix")
        if not os.path.exists("/etc/postfix/master.cf"):
            self.skipTest("Postfix is not configured here")
        for address in (self.SERVER, self.CLIENT):
            system.run("ip", "address", "add", f"{address}/32", "dev", "lo")
            self.addCleanup(system.run, "ip", "address", "del", f"{address}/32", "dev", "lo")
        system.write("/etc/postfix/main.cf", self.POSTFIX)
        system.run("touch", "-d", "1 minute ago", "/etc/postfix/main.cf")
        self.addCleanup(system.run, "postfix", "stop", check=False)
        system.run("postfix", "start")

        install, _, sockets, _, check = readme("Install")
        self.follow(install, sockets, check)
        system.write("/etc/postfix/main.cf", self.POSTFIX + "\n".join(readme("With Postfix")[0]) + "\n")
        system.run("touch", "-d", "1 minute ago", "/etc/postfix/main.cf")
        system.run("postfix", "reload")

        code, text = self.deliver()
        self.assertEqual((code, text.decode()), (450, "4.7.1 <nobody@test.example>: Recipient address rejected: "
                                                      "greylisted, try again later"))
        self.move_time(61)
        self.assertEqual(self.deliver()[0], 250)
        self.wait_until(lambda: re.search(r"(?m)^X-Greylist: delayed \d+ seconds by bley-",
                                          system.run("cat", "/var/mail/nobody", check=False).stdout), "the mail")

    def test_exim(self):
        """What is Exim's own is tried in tests/mta."""
        install, _, sockets, warm, check = readme("Install")
        self.follow(install, sockets, warm, check)
        self.assertEqual([self.state(name) for name in ("bley.socket", "bley-warm.socket")], ["inactive", "active"])
        self.assertEqual(self.once(PORT), DEFER)


if __name__ == "__main__":
    unittest.main()
