"""Receives spans in the place of a collector, the X-Ray daemon and the extension, and answers the functions' calls."""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import BinaryIO

from http_answers import Answers
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

END_FRAME = 4


class Collector:
    """Keeps spans while `keep` is on: while runs are measured, decoding would take the processor from them."""

    def __init__(self, agent_socket: str) -> None:
        self.keep = False
        self.spans: list[Span] = []
        self._http = _Http(self)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._daemon.bind(("127.0.0.1", 0))
        self.daemon = "{}:{}".format(*self._daemon.getsockname())
        self._extension = socket.socket(socket.AF_UNIX)
        self._extension.bind(f"\0{agent_socket}")
        self._extension.listen()
        for serve in (self._http.serve_forever, self._receive_datagrams, self._accept):
            threading.Thread(target=serve, daemon=True).start()

    def received(self, request: bytes) -> None:
        if self.keep:
            for resource in ExportTraceServiceRequest.FromString(request).resource_spans:
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def _receive_datagrams(self) -> None:
        """A datagram is a line of JSON, then `T1S` or `T1U`, then OTLP in base64."""
        while True:
            datagram = self._daemon.recv(65_536)
            self.received(base64.b64decode(datagram.partition(b"\n")[2][3:]))

    def _accept(self) -> None:
        while True:
            connection, _ = self._extension.accept()
            threading.Thread(target=self._read_frames, args=(connection,), daemon=True).start()

    def _read_frames(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(ConnectionError):
            for kind, payload in _frames(stream):
                if kind == END_FRAME and self.keep:
                    self.spans.append(Span.FromString(payload))


def _frames(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    while header := stream.read(5):
        kind, length = struct.unpack("<BI", header)
        yield kind, stream.read(length)


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, collector: Collector) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.collector = collector


class _Handler(Answers):
    """OTLP over HTTP, and for any other path the answer to the function's own call."""

    server: _Http

    def do_GET(self) -> None:
        self.answer(200, b"content", {})

    def do_POST(self) -> None:
        body = self.body()
        if self.path == "/v1/traces":
            self.server.collector.received(body)
        self.answer(200, b"", {})
