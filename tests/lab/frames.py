"""The agent's side of wrapper/PROTOCOL.md, as small as a test needs it."""

from __future__ import annotations

import json
import os
import socket
import struct
import time

from servers import BOUND_S

HELLO, INVOKE, START, END, DONE = 1, 2, 3, 4, 5
KIND_SERVER = 2
SAMPLED_REMOTE = 0x301


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack("<BI", kind, len(payload)) + payload


def hello() -> bytes:
    said = {
        "agent": "otel-xray-smoke",
        "agent_version": "0.0.1",
        "runtime": "python",
        "runtime_version": "3.13.0",
        "pid": os.getpid(),
        "env": {"_HANDLER": "app.handler"},
    }
    return frame(HELLO, json.dumps(said).encode())


def invoke(request_id: str, trace_header: str, deadline_ms: int) -> bytes:
    name = request_id.encode()
    return frame(INVOKE, struct.pack("<QH", deadline_ms, len(name)) + name + trace_header.encode())


def done(request_id: str, outcome: int = 0, dropped: int = 0) -> bytes:
    return frame(DONE, struct.pack("<BI", outcome, dropped) + request_id.encode())


def span(kind: int, trace_id: bytes, span_id: bytes, parent: bytes, name: str, ended: bool) -> bytes:
    """A start or end frame with one OTLP span."""
    now = time.time_ns()
    message = _bytes(1, trace_id) + _bytes(2, span_id) + _bytes(4, parent) + _bytes(5, name.encode())
    message += _varint(6 << 3) + _varint(KIND_SERVER) + _fixed64(7, now - 5_000_000)
    if ended:
        message += _fixed64(8, now)
    message += _varint(16 << 3 | 5) + struct.pack("<I", SAMPLED_REMOTE)
    return frame(kind, message)


def connect(name: str) -> socket.socket:
    """Connects to the extension's abstract socket."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.settimeout(BOUND_S)
    stream.connect("\0" + name)
    return stream


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _fixed64(field: int, value: int) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<Q", value)
