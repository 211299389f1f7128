"""Stores that no package brings to a test, by as much of their protocols as a client needs for a call and a refusal.

Each answers what it is asked and keeps nothing. What has ``refused`` in it is refused as the store itself does.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from servers import Handler

REFUSED = b"refused"


def _exactly(stream: Any, count: int) -> bytes:
    data: bytes = stream.read(count)
    if len(data) < count:
        raise ConnectionResetError
    return data


class _Conversation(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        try:
            self.talk()
        except (ConnectionError, BrokenPipeError):
            return

    def talk(self) -> None:
        raise NotImplementedError


class Mongo(_Conversation):
    """MongoDB's OP_MSG, and OP_QUERY for the greeting."""

    def talk(self) -> None:
        while True:
            length, request, _, code = struct.unpack("<4i", _exactly(self.rfile, 16))
            body = _exactly(self.rfile, length - 16)
            if code == 2004:
                at = body.index(b"\0", 4) + 9
                answer = struct.pack("<iqii", 8, 0, 0, 1) + _bson(self.answer(_from_bson(body, at)[0], body))
                self.send(request, 1, answer)
            else:
                self.send(request, 2013, struct.pack("<iB", 0, 0) + _bson(self.answer(_from_bson(body, 5)[0], body)))

    def send(self, request: int, code: int, body: bytes) -> None:
        self.wfile.write(struct.pack("<4i", len(body) + 16, 1, request, code) + body)

    def answer(self, command: dict[str, Any], body: bytes) -> dict[str, Any]:
        name = next(iter(command))
        if name.lower() in ("hello", "ismaster"):
            limits = {"maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000}
            return {"helloOk": True, "ismaster": True, **limits, "minWireVersion": 0, "maxWireVersion": 21, "ok": 1}
        if name == "insert" and REFUSED in body:
            error = {"index": 0, "code": 11000, "errmsg": "E11000 duplicate key error collection: shop.orders"}
            return {"n": 0, "writeErrors": [error], "ok": 1}
        if name == "find":
            # There is more of it.
            return {"cursor": {"id": 7, "ns": f"shop.{command[name]}", "firstBatch": [{"a": 1}]}, "ok": 1}
        if name == "getMore":
            return {"cursor": {"id": 0, "ns": "shop.orders", "nextBatch": []}, "ok": 1}
        return {"n": 1, "ok": 1}


def _bson(document: dict[str, Any]) -> bytes:
    parts = []
    for name, value in document.items():
        kind, data = _bson_value(value)
        parts.append(kind + name.encode() + b"\0" + data)
    body = b"".join(parts)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _bson_value(value: Any) -> tuple[bytes, bytes]:
    if isinstance(value, bool):
        return b"\x08", bytes([value])
    if isinstance(value, int):
        return b"\x12", struct.pack("<q", value)
    if isinstance(value, str):
        return b"\x02", struct.pack("<i", len(value.encode()) + 1) + value.encode() + b"\0"
    if isinstance(value, dict):
        return b"\x03", _bson(value)
    return b"\x04", _bson({str(index): item for index, item in enumerate(value)})


_BSON_SIZES = {0x01: 8, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8}


def _from_bson(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    """Names and texts of a document; of other values only how long they are."""
    (length,) = struct.unpack_from("<i", data, at)
    end, at, found = at + length - 1, at + 4, {}
    while at < end:
        kind, name_end = data[at], data.index(b"\0", at + 1)
        name, at = data[at + 1 : name_end].decode(), name_end + 1
        found[name] = None
        if kind == 0x02:
            (size,) = struct.unpack_from("<i", data, at)
            found[name] = data[at + 4 : at + 3 + size].decode()
            at += 4 + size
        elif kind in (0x03, 0x04):
            found[name], at = _from_bson(data, at)
        elif kind == 0x05:
            at += 5 + struct.unpack_from("<i", data, at)[0]
        else:
            at += _BSON_SIZES[kind]
    return found, end + 1


class Bolt(_Conversation):
    """Neo4j's protocol in its version 4.4."""

    SUCCESS, RECORD, IGNORED, FAILURE = 0x70, 0x71, 0x7E, 0x7F
    HELLO, RESET, RUN, PULL, GOODBYE = 0x01, 0x0F, 0x10, 0x3F, 0x02

    def talk(self) -> None:
        _exactly(self.rfile, 20)
        self.wfile.write(b"\0\0\4\4")
        has_failed = False
        while True:
            message = self.message()
            kind = message[1]
            if kind == self.GOODBYE:
                return
            if kind == self.RESET:
                has_failed = False
            if has_failed:
                self.send(self.IGNORED)
            elif kind == self.RUN and REFUSED in message:
                has_failed = True
                code = "Neo.ClientError.Schema.ConstraintValidationFailed"
                self.send(self.FAILURE, {"code": code, "message": "already exists"})
            elif kind == self.HELLO:
                self.send(self.SUCCESS, {"server": "Neo4j/4.4.0", "connection_id": "bolt-1"})
            elif kind == self.RUN:
                self.send(self.SUCCESS, {"fields": ["n"]})
            elif kind == self.PULL:
                self.send(self.RECORD, ["row"])
                self.send(self.SUCCESS, {"type": "r", "db": "shop"})
            else:
                self.send(self.SUCCESS, {})

    def message(self) -> bytes:
        parts: list[bytes] = []
        while True:
            size = int.from_bytes(_exactly(self.rfile, 2), "big")
            if size:
                parts.append(_exactly(self.rfile, size))
            elif parts:
                return b"".join(parts)

    def send(self, kind: int, *fields: Any) -> None:
        body = bytes([0xB0 + len(fields), kind]) + b"".join(map(self.packed, fields))
        self.wfile.write(len(body).to_bytes(2, "big") + body + b"\0\0")

    def packed(self, value: Any) -> bytes:
        if isinstance(value, str):
            return b"\xd0" + bytes([len(value)]) + value.encode()
        if isinstance(value, list):
            return bytes([0x90 + len(value)]) + b"".join(map(self.packed, value))
        return bytes([0xA0 + len(value)]) + b"".join(self.packed(k) + self.packed(v) for k, v in value.items())


class Cassandra(_Conversation):
    """Version 4 of Cassandra's protocol: a node that knows itself and nobody else."""

    ERROR, READY, SUPPORTED, RESULT = 0x00, 0x02, 0x06, 0x08
    STARTUP, OPTIONS, QUERY, REGISTER = 0x01, 0x05, 0x07, 0x0B
    LOCAL = (
        ("key", "local"),
        ("cluster_name", "shop"),
        ("data_center", "one"),
        ("rack", "one"),
        ("partitioner", "org.apache.cassandra.dht.Murmur3Partitioner"),
        ("release_version", "4.0.0"),
    )

    def talk(self) -> None:
        while True:
            version, _, stream, opcode, length = struct.unpack(">BBhBi", _exactly(self.rfile, 9))
            body = _exactly(self.rfile, length)
            if version != 4:
                message = b"Invalid or unsupported protocol version"
                self.send(stream, self.ERROR, struct.pack(">iH", 0x0A, len(message)) + message)
            elif opcode == self.OPTIONS:
                self.send(
                    stream,
                    self.SUPPORTED,
                    struct.pack(">H", 2)
                    + self.text("CQL_VERSION")
                    + b"\0\1"
                    + self.text("3.4.5")
                    + self.text("COMPRESSION")
                    + b"\0\0",
                )
            elif opcode == self.QUERY:
                self.answer(stream, body)
            else:
                self.send(stream, self.READY, b"")

    def answer(self, stream: int, body: bytes) -> None:
        if REFUSED in body:
            self.send(stream, self.ERROR, struct.pack(">i", 0x2200) + self.text("unconfigured table"))
        elif b"system.local" in body:
            self.send(stream, self.RESULT, self.rows("local", self.LOCAL, [[value for _, value in self.LOCAL]]))
        elif b"system.peers" in body:
            self.send(stream, self.RESULT, self.rows("peers", (("peer", ""),), []))
        elif body[4:].startswith(b"USE "):
            self.send(stream, self.RESULT, struct.pack(">i", 3) + self.text("shop"))
        else:
            self.send(stream, self.RESULT, struct.pack(">i", 1))

    def rows(self, table: str, columns: Any, rows: list[list[str]]) -> bytes:
        head = struct.pack(">iii", 2, 1, len(columns)) + self.text("system") + self.text(table)
        # All of them are texts.
        head += b"".join(self.text(name) + struct.pack(">H", 0x0D) for name, _ in columns)
        values = b"".join(struct.pack(">i", len(value)) + value.encode() for row in rows for value in row)
        return head + struct.pack(">i", len(rows)) + values

    def text(self, text: str) -> bytes:
        return struct.pack(">H", len(text)) + text.encode()

    def send(self, stream: int, opcode: int, body: bytes) -> None:
        self.wfile.write(struct.pack(">BBhBi", 0x84, 0, stream, opcode, len(body)) + body)


class Search(Handler):
    """Elasticsearch's and OpenSearch's API, with what a client looks at to know whom it has found."""

    requests: list[tuple[str, str, dict[str, str]]]

    def reply(self) -> None:
        body = self.body()
        self.server.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))  # type: ignore[attr-defined]
        if REFUSED in body or REFUSED in self.path.encode():
            self.answer(
                400, {"error": {"type": "parsing_exception", "reason": "unknown query"}, "status": 400}, **_PRODUCT
            )
        else:
            self.answer(200, {"hits": {"hits": []}, "version": {"number": "7.17.0", **_FLAVOR}, **_TAGLINE}, **_PRODUCT)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = reply


_PRODUCT = {"X_Elastic_Product": "Elasticsearch"}
_FLAVOR = {"build_flavor": "default"}
_TAGLINE = {"tagline": "You Know, for Search"}


class Silent(_Conversation):
    """Takes every connection and never says a word."""

    def talk(self) -> None:
        while self.rfile.read(1):
            pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, conversation: Callable[..., Any]) -> None:
        super().__init__(("127.0.0.1", 0), conversation)
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no fault of the server's."""


@contextmanager
def serving(conversation: Callable[..., Any]) -> Iterator[Server]:
    with Server(conversation) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
