# SPDX-License-Identifier: BSD-3-Clause
"""Throw-away database servers: each in a folder of its own, on loopback, stopped by its process id."""

import atexit
import errno
import glob
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import bleytest

PATIENCE = 60


def as_user(name):
    """A prefix that runs a command as this user; the servers refuse to be root."""
    if os.geteuid() != 0:
        return []
    entry = pwd.getpwnam(name)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def wait_until(predicate, what, process=None):
    end = time.monotonic() + PATIENCE
    while not predicate():
        if process and process.poll() is not None:
            raise AssertionError(f"{what}: the server ended with {process.returncode}")
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {PATIENCE} s")
        time.sleep(0.02)


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise AssertionError(f"{command}: exit status {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class Disk:
    """A small disk of its own, in memory, seen by the programs that `command` in front of them starts. Needs root."""

    def __init__(self, folder, size, owner="root"):
        os.makedirs(folder, exist_ok=True)
        self.keeper = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-c",
             'mount -t tmpfs -o "mode=700,size=$1" tmpfs "$0" && chown "$2" "$0" && echo ready && read end', folder, size, owner],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(self.remove)
        if self.keeper.stdout.readline() != "ready\n":
            raise AssertionError(f"no small disk: exit status {self.keeper.wait()}")
        self.command = ["nsenter", "-t", str(self.keeper.pid), "-m", "--"]
        self.folder = f"/proc/{self.keeper.pid}/root{folder}"  # for who is outside

    def fill(self):
        """Not one more block can be had."""
        with open(os.path.join(self.folder, "filler"), "wb", buffering=0) as stream:
            for size in (2 ** 20, 4096):
                try:
                    while stream.write(bytes(size)) == size:
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def make_room(self):
        os.unlink(os.path.join(self.folder, "filler"))

    def remove(self):
        bleytest.stop(self.keeper)


class Server:
    """What the engines share. stop() is registered with the process, too: nothing is left behind."""

    def __init__(self, user, disk_size=None):
        """disk_size: the server's data lies on a Disk of this size."""
        self.user = user
        self.folder = tempfile.mkdtemp(prefix="bley-server-")
        os.chmod(self.folder, 0o755)
        if os.geteuid() == 0:
            shutil.chown(self.folder, user, user)
        self.disk = Disk(self.path("data"), disk_size, user) if disk_size else None
        self.wrapper = self.disk.command if self.disk else []
        self.process = None
        self.port = bleytest.free_port()
        atexit.register(self.remove)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def stop(self, number=signal.SIGTERM):
        """Ends it with this signal; a frozen one is woken first."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def remove(self):
        self.stop(signal.SIGKILL)
        if self.disk:
            self.disk.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgreSQL(Server):
    """PostgreSQL with the user bley and, from database(), databases of its own. host is the socket's directory."""

    @staticmethod
    def programs():
        return sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1:]

    def __init__(self, copy_of=None, port=None, disk_size=None, **settings):
        """copy_of: another one, of which this is to be the hot standby."""
        super().__init__("postgres", disk_size)
        self.port = port or self.port
        self.bin = self.programs()[0]
        self.host = self.folder
        self.settings = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "16MB",
                         "max_connections": "150", "listen_addresses": "127.0.0.1", **settings}
        self.count = 0
        if copy_of:
            self.command("pg_basebackup", "-h", copy_of.host, "-p", str(copy_of.port), "-U", "postgres", "-D",
                         self.path("data"), "-R", "-X", "stream", "-c", "fast", "--no-sync")
        else:
            self.command("initdb", "-D", self.path("data"), "-A", "trust", "--no-sync", "--locale=C.UTF-8", "-E", "UTF8",
                         "-U", "postgres", "--no-instructions",
                         # what is written there must be written, or the server ends: not on the small disk
                         *(["-X", self.path("wal")] if disk_size else []))
        self.start()
        if not copy_of:
            self.sql("CREATE ROLE bley LOGIN PASSWORD 'bley'", database="postgres")

    def command(self, name, *arguments):
        return run([*self.wrapper, *as_user(self.user), os.path.join(self.bin, name), *arguments], cwd=self.folder)

    def start(self):
        """Where it was killed, what it had started may take a moment to notice: no second one starts before."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self.start_once()
            except AssertionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def start_once(self):
        options = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        with open(self.path("log"), "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, *as_user(self.user), os.path.join(self.bin, "postgres"), "-D", self.path("data"),
                 "-k", self.folder, "-p", str(self.port), *options], stdout=log, stderr=log, cwd=self.folder)
        wait_until(self.is_ready, "PostgreSQL", self.process)

    def is_ready(self):
        return subprocess.run([os.path.join(self.bin, "pg_isready"), "-q", "-h", self.host, "-p", str(self.port)],
                              check=False).returncode == 0

    def stop(self, number=signal.SIGINT):
        super().stop(number)

    def database(self, options=""):
        """A new database that belongs to bley."""
        self.count += 1
        name = f"bley{self.count}"
        self.sql(f"CREATE DATABASE {name} OWNER bley TEMPLATE template0 {options}", database="postgres")
        return name

    def sql(self, statement, database):
        """The rows as text, columns between tabs; NULL is \\N."""
        return run([os.path.join(self.bin, "psql"), "-X", "-q", "-A", "-t", "-F", "\t", "-P", "null=\\N", "-v",
                    "ON_ERROR_STOP=1", "-h", self.host, "-p", str(self.port), "-U", "postgres", "-d", database, "-f", "-"],
                   input=statement, env={**os.environ, "PGCLIENTENCODING": "UTF8"})

    def promote(self):
        self.command("pg_ctl", "-D", self.path("data"), "-w", "promote")

    def ask_password(self, database):
        """From now on this database may be used over TCP only by those who know a password."""
        with open(self.path("data", "pg_hba.conf"), "r+", encoding="ascii") as stream:
            text = stream.read()
            stream.seek(0)
            stream.write(f"host {database} all 127.0.0.1/32 scram-sha-256\n{text}")
        self.sql("SELECT pg_reload_conf()", "postgres")


class MariaDB(Server):
    """MariaDB with the user bley and, from database(), databases of its own. host is the socket."""

    # what the Python daemon's times are local to
    ZONE = "Europe/Berlin"

    def __init__(self, *options, disk_size=None):
        super().__init__("mysql", disk_size)
        self.host = self.path("socket")
        self.options = options
        self.count = 0
        run([*self.wrapper, "mariadb-install-db", "--no-defaults", *([f"--user={self.user}"] if os.geteuid() == 0 else []),
             f"--datadir={self.path('data')}", f"--tmpdir={self.folder}", "--auth-root-authentication-method=normal",
             "--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=4M"], cwd=self.folder)
        self.start()
        self.sql("CREATE USER IF NOT EXISTS bley IDENTIFIED BY 'bley', bley@localhost IDENTIFIED BY 'bley'")

    def start(self, *more):
        with open(self.path("log"), "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, bleytest.find_program("mariadbd"), "--no-defaults",
                 *([f"--user={self.user}"] if os.geteuid() == 0 else []),
                 f"--datadir={self.path('data')}", f"--tmpdir={self.folder}", f"--socket={self.host}", "--bind-address=127.0.0.1",
                 f"--port={self.port}", f"--pid-file={self.path('pid')}", "--skip-name-resolve",
                 "--innodb-flush-log-at-trx-commit=0",
                 "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M", "--skip-log-bin", "--max-connections=200",
                 *self.options, *more],
                stdout=log, stderr=log, cwd=self.folder, env={**os.environ, "TZ": self.ZONE})
        wait_until(self.is_ready, "MariaDB", self.process)

    def is_ready(self):
        return subprocess.run(["mariadb-admin", "--no-defaults", "-uroot", "-S", self.host, "ping"], check=False,
                              capture_output=True).returncode == 0

    def database(self):
        """A new database that bley may use."""
        self.count += 1
        name = f"bley{self.count}"
        self.sql(f"CREATE DATABASE {name}; GRANT ALL ON {name}.* TO bley; GRANT ALL ON {name}.* TO bley@localhost")
        return name

    def sql(self, statement, database=""):
        """The rows as text, columns between tabs; NULL is \\N."""
        text = run(["mariadb", "--no-defaults", "-uroot", "-S", self.host, "-N", "-B", "--default-character-set=utf8mb4",
                    *([database] if database else [])], input=statement)
        return "\n".join("\t".join("\\N" if value == "NULL" else value for value in line.split("\t"))
                         for line in text.splitlines())


def free_ports(count):
    return [bleytest.free_port() for _ in range(count)]


class GaleraNode(MariaDB):
    """A node of a cluster; the first has no peers. Its data comes from them, by rsync."""

    PROVIDER = "/usr/lib/galera/libgalera_smm.so"

    def __init__(self, number, peers=()):
        group, state, transfer = free_ports(3)
        self.group = f"127.0.0.1:{group}"
        joined = ",".join(node.group for node in peers)
        super().__init__(
            "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON", f"--wsrep-provider={self.PROVIDER}",
            "--wsrep-cluster-name=bley", f"--wsrep-cluster-address=gcomm://{joined}", f"--wsrep-node-name=n{number}",
            f"--wsrep-node-address={self.group}", "--wsrep-sst-method=rsync",
            f"--wsrep-sst-receive-address=127.0.0.1:{transfer}",
            f"--wsrep-provider-options=gmcast.listen_addr=tcp://{self.group};ist.recv_addr=127.0.0.1:{state};"
            "gcache.size=8M;gcache.page_size=8M;pc.recovery=0",
            *([] if peers else ["--wsrep-new-cluster"]))

    def is_ready(self):
        if not super().is_ready():
            return False
        return "ON" in self.sql("SHOW STATUS LIKE 'wsrep_ready'")


class Proxy(threading.Thread):
    """Passes connections on to a server; whatever that says comes `pause` seconds later. Counts round trips: how often a client
    speaks after the server."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.server_port, self.pause, self.trips = port, 0, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.pass_on, args=(client,), daemon=True).start()

    def pass_on(self, client):
        try:
            with client, socket.create_connection(("127.0.0.1", self.server_port)) as server:
                last = server
                while True:
                    for side in select.select([client, server], [], [])[0]:
                        data = side.recv(65536)
                        if not data:
                            return
                        if side is server:
                            time.sleep(self.pause)
                        elif last is server:
                            self.trips += 1
                        last = side
                        (server if side is client else client).sendall(data)
        except OSError:
            pass  # one of them is gone, so the other is told

    def close(self):
        self.listener.close()
