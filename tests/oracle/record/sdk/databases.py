"""Stand-ins for Redis and PostgreSQL: the few messages that a client needs to connect, to ask and to be refused."""

from __future__ import annotations

import socketserver
import struct

HELLO = ["server", "redis", "version", "7.2.0", "proto", 3, "id", 1, "mode", "standalone", "role", "master"]


class Redis(socketserver.StreamRequestHandler):
    """RESP. `GET` finds something but for the key `absent`; `INCR` is always refused."""

    def handle(self) -> None:
        while header := self.rfile.readline():
            command = [self.argument() for _ in range(int(header[1:]))]
            self.wfile.write(self.reply(command[0].upper(), command[1:]))

    def argument(self) -> str:
        length = int(self.rfile.readline()[1:])
        return self.rfile.read(length + 2)[:-2].decode()

    @staticmethod
    def reply(name: str, arguments: list[str]) -> bytes:
        if name == "HELLO":
            items = "".join(f":{item}\r\n" if isinstance(item, int) else f"+{item}\r\n" for item in HELLO)
            return f"%{len(HELLO) // 2}\r\n{items}".encode()
        if name == "GET":
            return b"$-1\r\n" if arguments == ["absent"] else b"$5\r\nvalue\r\n"
        if name in ("INCR", "INCRBY"):
            return b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
        if name == "INFO":
            return b"$21\r\nredis_version:7.2.0\r\n\r\n"
        return b"+OK\r\n"


class Postgres(socketserver.StreamRequestHandler):
    """The wire protocol 3.0, simple and extended. Each query returns one row, but those that name `absent` fail."""

    ROW = b"D" + struct.pack("!IHI", 4 + 2 + 4 + 1, 1, 1) + b"7"
    COLUMN = b"id\0" + struct.pack("!IHIHIH", 0, 0, 23, 4, 0xFFFFFFFF, 0)
    DESCRIPTION = b"T" + struct.pack("!IH", 6 + len(COLUMN), 1) + COLUMN

    def handle(self) -> None:
        self.query = ""
        self.failed = False
        if not self.start():
            return
        while kind := self.rfile.read(1):
            (length,) = struct.unpack("!I", self.rfile.read(4))
            body = self.rfile.read(length - 4)
            if kind == b"X":
                return
            self.wfile.write(self.reply(kind, body))

    def start(self) -> bool:
        """The start-up message; requests for encryption are declined."""
        while True:
            head = self.rfile.read(8)
            if len(head) < 8:
                return False
            length, code = struct.unpack("!II", head)
            self.rfile.read(length - 8)
            if code == 196608:
                break
            self.wfile.write(b"N")
        settings = [("server_version", "15.0"), ("client_encoding", "UTF8"), ("standard_conforming_strings", "on")]
        self.wfile.write(message(b"R", struct.pack("!I", 0)))
        for name, value in [*settings, ("integer_datetimes", "on"), ("DateStyle", "ISO, MDY")]:
            self.wfile.write(message(b"S", f"{name}\0{value}\0".encode()))
        self.wfile.write(message(b"K", struct.pack("!II", 1, 1)) + READY)
        return True

    def reply(self, kind: bytes, body: bytes) -> bytes:
        if kind == b"Q":
            self.query, self.failed = body.rstrip(b"\0").decode(), False
            return self.rows(describe=True) + READY
        if kind == b"P":
            self.query, self.failed = body.split(b"\0")[1].decode(), False
            return message(b"1", b"")
        if kind == b"S":
            return READY
        if self.failed:
            return b""
        if kind == b"B":
            return message(b"2", b"")
        if kind == b"D":
            return self.DESCRIPTION
        return self.rows(describe=False) if kind == b"E" else b""

    def rows(self, *, describe: bool) -> bytes:
        if "absent" in self.query:
            self.failed = True
            return message(b"E", b'SERROR\0VERROR\0C42P01\0Mrelation "absent" does not exist\0\0')
        word = self.query.split()[0].upper() if self.query else ""
        if word != "SELECT":
            return message(b"C", f"{word}\0".encode())
        return (self.DESCRIPTION if describe else b"") + self.ROW + message(b"C", b"SELECT 1\0")


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", 4 + len(body)) + body


READY = message(b"Z", b"I")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


def server(handler: type[socketserver.StreamRequestHandler]) -> Server:
    return Server(("127.0.0.1", 0), handler)
