# SPDX-License-Identifier: BSD-3-Clause
"""Name servers for tests, all on loopback and on ports of their own.

NameServers: the real ones, NSD with a zone that the test gives behind unbound.
Namespace: a network namespace with its own /etc/resolv.conf, where they can have port 53.
FakeServer: one that does what no real one would: it answers by a function of the test.
"""

import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time

import bleytest

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "OPT": 41}
TYPE_NAMES = {number: name for name, number in TYPES.items()}

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)

ZONE_HEAD = """$ORIGIN .
$TTL 60
@ SOA ns.test. hostmaster.test. 1 60 60 60 60
@ NS ns.test.
ns.test. A 127.0.0.1
"""

NSD_CONF = """
server:
  ip-address: 127.0.0.1@{authority}
  username: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
  xfrdir: "{folder}"
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: "."
  zonefile: root.zone
zone:
  name: "servfail.test."
  zonefile: missing.zone
"""

UNBOUND_CONF = """
server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  use-syslog: no
  module-config: "iterator"
  do-not-query-localhost: no
  do-ip6: no
  access-control: 127.0.0.0/8 allow
  num-threads: 1
  local-zone: "drop.test." deny
  local-zone: "refuse.test." refuse
  local-zone: "test." transparent
  local-zone: "2.0.192.in-addr.arpa." transparent
  local-zone: "8.b.d.0.1.0.0.2.ip6.arpa." transparent
remote-control:
  control-enable: no
stub-zone:
  name: "."
  stub-addr: 127.0.0.1@{authority}
"""


class NameServers:
    """NSD, authoritative for the root zone (ZONE_HEAD and the test's text), behind unbound, which tests ask.

    drop.test never answers, refuse.test is refused, servfail.test fails. In a namespace unbound has the usual port.
    """

    def __init__(self, test, zone, namespace=None):
        nsd, unbound = test.need("nsd", "unbound")
        self.folder = test.path("dns")
        os.makedirs(self.folder, exist_ok=True)
        wrapper = namespace.command if namespace else ()
        self.port = 53 if namespace else free_port()
        values = {"folder": self.folder, "port": self.port, "authority": free_port()}
        test.write("dns/root.zone", ZONE_HEAD + zone)
        test.write("dns/nsd.conf", NSD_CONF.format(**values))
        test.write("dns/unbound.conf", UNBOUND_CONF.format(**values))
        self.processes = [
            test.start([*wrapper, nsd, "-d", "-c", os.path.join(self.folder, "nsd.conf")], log="nsd.out"),
            test.start([*wrapper, unbound, "-d", "-c", os.path.join(self.folder, "unbound.conf")], log="unbound.out"),
        ]
        self.address = f"127.0.0.1:{self.port}"
        ready = [*wrapper, sys.executable, os.path.abspath(__file__), str(self.port)]
        test.wait_until(lambda: self._ready(test, ready if namespace else None), "the name servers")

    def _ready(self, test, command):
        for process in self.processes:
            if process.poll() is not None:
                logs = "".join(open(test.path(log), encoding="utf-8").read() for log in ("nsd.out", "unbound.out"))
                test.fail(f"a name server has ended with {process.returncode}: {logs}")
        return test.run_program(command).returncode == 0 if command else answers(self.port)


class Namespace:
    """A network namespace with nothing but loopback, and a resolv.conf that is seen only there. Needs root.

    `command` in front of another runs it inside.
    """

    def __init__(self, test, resolv_conf):
        test.need_root()
        unshare, nsenter, _ = test.need("unshare", "nsenter", "ip")
        self._test = test
        self.resolv_conf(resolv_conf)
        script = 'ip link set lo up && mount --bind "$0" /etc/resolv.conf && echo ready && read end'
        process = test.start(
            [unshare, "-n", "-m", "--propagation", "private", "sh", "-c", script, test.path("resolv.conf")],
            log="namespace.out", stdin=subprocess.PIPE)
        self.command = (nsenter, "-t", str(process.pid), "-n", "-m", "--")

        def ready():
            with open(test.path("namespace.out"), encoding="utf-8") as stream:
                text = stream.read()
            if process.poll() is not None:
                test.fail(f"no namespace: {text}")
            return "ready" in text
        test.wait_until(ready, "the namespace")

    def resolv_conf(self, text):
        """Rewrites it in place."""
        with open(self._test.path("resolv.conf"), "w", encoding="utf-8") as stream:
            stream.write(text)


def answers(port):
    """Whether NameServers answer there: both of them, as only unbound refuses."""
    try:
        return [ask_udp(port, name, "A", timeout=0.5)[3] & 15 for name in ("ns.test", "refuse.test")] == [NOERROR, REFUSED]
    except OSError:
        return False


def free_port():
    """A port that is free for UDP and TCP."""
    while True:
        port = bleytest.free_port()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


# --- packets ------------------------------------------------------------------------------------------


def name_wire(name):
    """A name in wire form; bytes are taken for that already."""
    if isinstance(name, bytes):
        return name
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def rdata(kind, value):
    """The data of a record in wire form; bytes are taken for that already."""
    if isinstance(value, bytes):
        return value
    if kind == "A":
        return socket.inet_aton(value)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == "TXT":
        text = value.encode()
        return b"".join(bytes([len(text[i:i + 255])]) + text[i:i + 255] for i in range(0, max(len(text), 1), 255))
    if kind == "MX":
        preference, host = value.split()
        return struct.pack("!H", int(preference)) + name_wire(host)
    return name_wire(value)


def record(name, kind, value, ttl=60):
    data = rdata(kind, value)
    return name_wire(name) + struct.pack("!HHIH", TYPES[kind], 1, ttl, len(data)) + data


def ask_udp(port, name, kind, timeout=5):
    """One plain question, for waiting until a server is up; the answer's bytes."""
    query = struct.pack("!HHHHHH", 1, 0x100, 1, 0, 0, 0) + name_wire(name) + struct.pack("!HH", TYPES[kind], 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        s.connect(("127.0.0.1", port))
        s.send(query)
        return s.recv(65535)


class Query:
    """One question that a FakeServer got, and how to answer it."""

    def __init__(self, server, wire, reply_to, peer):
        self.server = server
        self.wire = wire
        self.tcp = not isinstance(reply_to, tuple)
        self._reply_to = reply_to
        self.peer_port = peer[1]
        self.time = time.monotonic()
        self.id, self.flags = struct.unpack("!HH", wire[:4])
        end = 12
        while wire[end]:
            end += wire[end] + 1
        self.name_wire = wire[12:end + 1]
        self.question = wire[12:end + 5]
        labels, at = [], 12
        while wire[at]:
            labels.append(wire[at + 1:at + 1 + wire[at]].decode("latin-1"))
            at += wire[at] + 1
        self.sent_name = ".".join(labels)
        self.name = self.sent_name.lower()
        self.type = TYPE_NAMES.get(struct.unpack("!H", wire[end + 1:end + 3])[0], "?")
        self.edns = struct.unpack("!H", wire[10:12])[0] > 0
        self.edns_size = struct.unpack("!H", wire[end + 8:end + 10])[0] if self.edns else None

    def packet(self, records=(), rcode=NOERROR, flags=0x8180, id=None, question=None, counts=None):
        """An answer. Records are (name, type, value), name None: the one asked for; or bytes as they are."""
        question = self.question if question is None else question
        body = b"".join(
            r if isinstance(r, bytes) else record(b"\xc0\x0c" if r[0] is None else r[0], r[1], r[2]) for r in records
        )
        counts = counts or (1 if question else 0, len(records), 0, 0)
        return struct.pack("!HHHHHH", self.id if id is None else id, flags | rcode, *counts) + question + body

    def send(self, packet):
        if self.tcp:
            self.send_raw(struct.pack("!H", len(packet)) + packet)
        else:
            self._reply_to[0].sendto(packet, self._reply_to[1])

    def send_raw(self, data):
        """Over TCP, without the length in front."""
        self._reply_to.sendall(data)

    def wait_closed(self):
        """Waits for the asker to close its side of a connection, b""; what it says instead."""
        self._reply_to.settimeout(bleytest.PATIENCE)
        return self._reply_to.recv(1)

    def send_from_elsewhere(self, packet):
        """From another port than the one that was asked."""
        with socket.socket(self._reply_to[0].family, socket.SOCK_DGRAM) as s:
            s.sendto(packet, self._reply_to[1])

    def reply(self, *records, **options):
        self.send(self.packet(records, **options))

    def address(self, value="127.0.0.2"):
        self.reply((None, "A", value))

    def later(self, seconds, function):
        """Calls function in the server's thread after that time."""
        self.server.schedule(seconds, function)


class FakeServer:
    """A name server whose answers `rule`, a function of a Query, gives: it may answer, answer wrongly, later, or never.

    All that was asked is in `queries`. Over TCP the connection closes after the rule, unless that returns "keep".
    `port` None: a free one. tcp=False: nobody listens there.
    """

    def __init__(self, test, rule, host="127.0.0.1", port=None, tcp=True):
        self.rule = rule
        self.queries = []
        self.failure = None
        self.host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._udp = socket.socket(family, socket.SOCK_DGRAM)
        self._tcp = socket.socket(family, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._connections = {}  # socket -> bytes so far
        self._kept = []
        self._tasks = []
        self._wake, self._woken = socket.socketpair()
        self._bind(host, port, tcp)
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        test.addCleanup(self._close, test)

    def _bind(self, host, port, tcp):
        for _ in range(100):
            number = port or free_port()
            try:
                self._udp.bind((host, number))
                if tcp:
                    self._tcp.bind((host, number))
                    self._tcp.listen(64)
                self.port = number
                return
            except OSError:
                if port:
                    raise
                self._udp.close()
                self._udp = socket.socket(self._tcp.family, socket.SOCK_DGRAM)
        raise RuntimeError("no free port found")

    def asked(self, name=None, kind=None, tcp=None):
        """The queries for a name, a type, over TCP or UDP."""
        return [
            q for q in list(self.queries)
            if (name is None or q.name == name) and (kind is None or q.type == kind) and (tcp is None or q.tcp == tcp)
        ]

    def schedule(self, seconds, function):
        self._tasks.append((time.monotonic() + seconds, function))

    def _close(self, test):
        self._ended = True
        self._wake.send(b"x")
        self._thread.join()
        for s in [self._udp, self._tcp, self._wake, self._woken, *self._connections, *self._kept]:
            s.close()
        if self.failure:
            test.fail(f"the fake server's rule: {self.failure!r}")

    def _run(self):
        while not self._ended:
            due = min((when for when, _ in self._tasks), default=None)
            sockets = [self._udp, self._woken, *self._connections]
            if self._listening():
                sockets.append(self._tcp)
            wait = None if due is None else max(due - time.monotonic(), 0)
            for s in select.select(sockets, [], [], wait)[0]:
                try:
                    self._serve(s)
                except OSError:
                    pass  # the other side went away
                except Exception as error:  # pylint: disable=broad-except
                    self.failure = self.failure or error
            self._run_tasks()

    def _listening(self):
        return self._tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)

    def _run_tasks(self):
        now = time.monotonic()
        due = [task for task in self._tasks if task[0] <= now]
        self._tasks = [task for task in self._tasks if task[0] > now]
        for _, function in due:
            try:
                function()
            except OSError:
                pass

    def _serve(self, s):
        if s is self._woken:
            s.recv(100)
        elif s is self._udp:
            wire, peer = s.recvfrom(65535)
            self._take(Query(self, wire, (s, peer), peer))
        elif s is self._tcp:
            connection, _ = s.accept()
            self._connections[connection] = b""
        else:
            self._serve_stream(s)

    def _serve_stream(self, s):
        data = s.recv(65535)
        self._connections[s] += data
        data_so_far = self._connections[s]
        complete = len(data_so_far) >= 2 and len(data_so_far) >= 2 + struct.unpack("!H", data_so_far[:2])[0]
        keep = None
        if complete:
            keep = self._take(Query(self, data_so_far[2:], s, s.getpeername()))
        elif data:
            return
        del self._connections[s]
        if keep == "keep":
            self._kept.append(s)
        else:
            s.close()

    def _take(self, query):
        self.queries.append(query)
        return self.rule(query)


def silent(_query):
    """The rule of a server that never answers; over TCP the connection stays open."""
    return "keep"


if __name__ == "__main__":  # inside a namespace: does a server answer on this port?
    sys.exit(0 if answers(int(sys.argv[1])) else 1)
