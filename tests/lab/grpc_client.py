"""A gRPC client for OTLP's trace service, as small as a test needs it: one connection, one call at a time."""

from __future__ import annotations

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX_FRAME_BYTES = 16_384
INITIAL_WINDOW_SIZE = 4
EXPORT = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header that no table remembers, without Huffman."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


class GrpcClient:
    def __init__(self, address: str, timeout_s: float) -> None:
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
        self.buffer = b""
        self.stream = -1
        self.initial_window = self.window = 65_535
        self.stream_window = 0

    def close(self) -> None:
        self.socket.close()

    def export(self, message: bytes, is_gzip: bool = False) -> bool:
        """Sends a request; whether it was answered with data, as a success is."""
        self.stream += 2
        self.stream_window = self.initial_window
        headers = literal(b":method", b"POST") + literal(b":scheme", b"http") + literal(b":path", EXPORT)
        headers += literal(b"content-type", b"application/grpc")
        if is_gzip:
            headers += literal(b"grpc-encoding", b"gzip")
        output = frame(HEADERS, END_HEADERS, self.stream, headers)
        body = struct.pack(">BI", is_gzip, len(message)) + message
        at = 0
        while at < len(body):
            while (room := min(self.window, self.stream_window, MAX_FRAME_BYTES)) <= 0:
                self.socket.sendall(output)
                output = b""
                self._read()
            part = body[at : at + room]
            at += len(part)
            self.window -= len(part)
            self.stream_window -= len(part)
            flags = END_STREAM if at == len(body) else 0
            output += frame(DATA, flags, self.stream, part)
        self.socket.sendall(output)
        has_data = False
        while True:
            kind, flags, stream, _ = self._read()
            if stream == self.stream and kind in (DATA, HEADERS):
                has_data |= kind == DATA
                if flags & END_STREAM:
                    return has_data
            assert kind != GOAWAY

    def _read(self) -> tuple[int, int, int, bytes]:
        kind, flags, stream, payload = self._frame()
        if kind == WINDOW_UPDATE:
            more = struct.unpack(">I", payload)[0]
            if stream == 0:
                self.window += more
            elif stream == self.stream:
                self.stream_window += more
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[at : at + 6])
                if name == INITIAL_WINDOW_SIZE:
                    self.stream_window += value - self.initial_window
                    self.initial_window = value
            self.socket.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, ACK, 0, payload))
        return kind, flags, stream, payload

    def _frame(self) -> tuple[int, int, int, bytes]:
        head = self._take(9)
        length = int.from_bytes(head[:3], "big")
        return head[3], head[4], int.from_bytes(head[5:9], "big"), self._take(length)

    def _take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            part = self.socket.recv(65_536)
            assert part, "the extension closed the connection"
            self.buffer += part
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken
