# SPDX-License-Identifier: BSD-3-Clause
"""Servers that speak MySQL's and PostgreSQL's protocol to bley, and give whatever shape of answer a test wants.

    with fakes.MySQL() as server:
        server.bend("FROM (SELECT 1) one", columns=64)

Unbent they answer as if bley's tables were there and empty. Statements are known by a part of their text; see Answer for what can
be bent. They know nothing of SQL, and every password is right.
"""

import dataclasses
import socket
import struct
import threading


@dataclasses.dataclass
class Answer:
    """What a statement gives."""
    values: tuple = ()  # a row's; none: no rows are given
    columns: int = None  # where it is another number than there are values
    announced: int = None  # MySQL: when the statement is prepared, if it is another number then
    parameters: int = None  # MySQL: likewise, of its parameters
    rows: int = 1
    type: int = None  # MySQL: of all columns
    insert_id: int = 0
    raw: bytes = None  # instead of all that, what comes for a statement that is run


# The statements of a handler, of bleyctl stats and of bleygraph: by a part of their text, in this order.
MYSQL = {
    "GREATEST(0, TIMESTAMPDIFF": Answer((None, None, None, None)),
    "max(version)": Answer((1, 0)),
    "GROUP BY 2, 5": Answer((3, "DUNNO", 0, 0, 8)),
    "CASE WHEN waited": Answer((3, "", 60, 0, 0)),
    ", ip, 0, sum(": Answer((3, "192.0.2.1", 0, 0, 0)),
    "AS class": Answer((0, 0, 3)),
    "FROM bley_log": Answer((0, 0, 3)),
}
PGSQL = {
    "FROM (SELECT 1) one": Answer((None, None, None, None)),
    "max(version)": Answer((1, 3000, 77)),
    "enable_seqscan": Answer(("off",)),
    "set_config": Answer(("0",)),
    "INSERT INTO bley_status": Answer((2, 0)),
    "GROUP BY 2, 5": Answer((3, "DUNNO", 0, 0, 8)),
    "CASE WHEN waited": Answer((3, "", 60, 0, 0)),
    ", ip, 0, sum(": Answer((3, "192.0.2.1", 0, 0, 0)),
    "AS class": Answer((0, 0, 3)),
    "INSERT INTO bley_log": Answer(),
    "FROM bley_log": Answer((0, 0, 3)),
}


class Gone(Exception):
    pass


class Fake:
    """A thread for each connection. port: on 127.0.0.1. heard: what clients sent where that was not to be expected."""

    answers = {}

    def __init__(self):
        self.bent, self.heard = {}, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def bend(self, part, **changes):
        """From now on this is so for the statement with this part."""
        self.bent = {part: changes}

    def mend(self):
        self.bent = {}

    def answer(self, sql):
        known = next((answer for part, answer in self.answers.items() if part in sql), Answer())
        changes = next((changes for part, changes in self.bent.items() if part in sql), {})
        answer = dataclasses.replace(known, **changes)
        if answer.columns is None:
            answer.columns = len(answer.values)
        answer.values = (answer.values + (1,) * answer.columns)[:answer.columns]
        return answer

    def listen(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            with client:
                self.client = client
                self.talk(client)
        except (Gone, OSError):
            pass

    def talk(self, client):
        raise NotImplementedError


def take(client, count):
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        if not more:
            raise Gone
        data += more
    return data


def lenenc(data):
    return (bytes([len(data)]) if len(data) < 251 else b"\xfc" + struct.pack("<H", len(data))) + data


class MySQL(Fake):
    answers = MYSQL
    # PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH, LONG_PASSWORD, CONNECT_WITH_DB, LOCAL_FILES, TRANSACTIONS, MULTI_RESULTS and
    # PS_MULTI_RESULTS; not DEPRECATE_EOF
    CAPABILITIES = 0x200 | 0x8000 | 0x80000 | 1 | 8 | 0x80 | 0x2000 | 0x20000 | 0x40000
    EOF = b"\xfe\0\0\x02\0"
    NUMBER, TEXT = 8, 253

    @staticmethod
    def ok(insert_id=0):
        return b"\0\0" + (bytes([insert_id]) if insert_id < 251 else b"\xfe" + struct.pack("<Q", insert_id)) + b"\x02\0\0\0"

    def receive(self, client):
        """A packet's number and what is in it."""
        length, number = struct.unpack("<IB", take(client, 3) + b"\0" + take(client, 1))
        return number, take(client, length)

    def send(self, client, number, *packets):
        client.sendall(b"".join(struct.pack("<I", len(packet))[:3] + bytes([(number + i) % 256]) + packet
                                for i, packet in enumerate(packets)))

    def column(self, answer, value):
        kind = answer.type or (self.TEXT if isinstance(value, str) else self.NUMBER)
        return (b"".join(lenenc(text) for text in (b"def", b"", b"", b"", b"c", b"")) +
                struct.pack("<BHIBHBH", 12, 45, 200, kind, 0, 0, 0))

    def result(self, answer):
        """The packets of a statement that was run."""
        if answer.raw is not None:
            return [answer.raw]
        if not answer.columns:
            return [self.ok(answer.insert_id)]
        null = bytearray((answer.columns + 9) // 8)
        row = b""
        for i, value in enumerate(answer.values):
            if value is None:
                null[(i + 2) // 8] |= 1 << (i + 2) % 8
            else:
                row += lenenc(value.encode()) if isinstance(value, str) else struct.pack("<q", value)
        columns = [self.column(answer, value) for value in answer.values]
        return [lenenc(b"x" * answer.columns)[:1], *columns, self.EOF, *[b"\0" + bytes(null) + row] * answer.rows, self.EOF]

    def prepared(self, sql, number):
        answer = self.answer(sql)
        columns = answer.columns if answer.announced is None else answer.announced
        parameters = sql.count("?") if answer.parameters is None else answer.parameters
        packets = [struct.pack("<BIHHBH", 0, number, columns, parameters, 0, 0)]
        for count in parameters, columns:
            packets += [self.column(answer, 0)] * count + [self.EOF] * bool(count)
        return packets

    def talk(self, client):
        self.send(client, 0, b"\x0a5.5.5-10.11.0-MariaDB\0" + struct.pack("<I", 1) + b"12345678\0" +
                  struct.pack("<HBHHB", self.CAPABILITIES & 0xffff, 45, 2, self.CAPABILITIES >> 16, 21) + bytes(10) +
                  b"123456789012\0mysql_native_password\0")
        number, _ = self.receive(client)
        self.send(client, number + 1, self.ok())
        statements = []
        while True:
            number, packet = self.receive(client)
            command, rest = packet[:1], packet[1:]
            if number:
                self.heard.append(packet)  # it belongs to what came before, and ends that
                self.send(client, number + 1, self.ok())
            elif command == b"\x03":
                self.send(client, 1, *self.result(self.answer(rest.decode())))
            elif command == b"\x16":
                statements.append(rest.decode())
                self.send(client, 1, *self.prepared(rest.decode(), len(statements)))
            elif command == b"\x17":
                sql = statements[struct.unpack("<I", rest[:4])[0] - 1]
                self.send(client, 1, *self.result(self.answer(sql)))
            elif command == b"\x01":
                return
            elif command != b"\x19":
                self.send(client, 1, self.ok())


class PostgreSQL(Fake):
    answers = PGSQL

    @staticmethod
    def message(kind, data=b""):
        return kind + struct.pack(">I", len(data) + 4) + data

    def columns(self, answer):
        if not answer.columns:
            return self.message(b"n")
        column = b"c\0" + struct.pack(">IHIhiH", 0, 0, 25, -1, -1, 0)
        return self.message(b"T", struct.pack(">H", answer.columns) + column * answer.columns)

    def rows(self, answer):
        if answer.raw is not None:
            return answer.raw
        row = struct.pack(">H", answer.columns)
        for value in answer.values:
            data = str(value).encode()
            row += struct.pack(">i", -1) if value is None else struct.pack(">I", len(data)) + data
        return self.message(b"D", row) * (answer.rows if answer.columns else 0) + self.message(b"C", b"DONE 1\0")

    def talk(self, client):
        take(client, struct.unpack(">I", take(client, 4))[0] - 4)
        ready = self.message(b"Z", b"I")
        client.sendall(self.message(b"R", bytes(4)) + self.message(b"S", b"server_version\x0015.0\0") +
                       self.message(b"S", b"client_encoding\0UTF8\0") + self.message(b"K", struct.pack(">II", 77, 1)) + ready)
        statements, answer = {}, None
        while True:
            kind = take(client, 1)
            data = take(client, struct.unpack(">I", take(client, 4))[0] - 4)
            if kind == b"P":
                name, sql = data.split(b"\0")[:2]
                statements[name] = sql.decode()
                client.sendall(self.message(b"1"))
            elif kind == b"B":
                answer = self.answer(statements[data.split(b"\0")[1]])
                client.sendall(self.message(b"2"))
            elif kind == b"D":
                client.sendall(self.columns(answer))
            elif kind == b"E":
                client.sendall(self.rows(answer))
            elif kind == b"S":
                client.sendall(ready)
            elif kind == b"X":
                return
            else:
                self.heard.append(kind + data)
