"""What the extension takes at most, whatever number and shape of spans one invocation leaves, over every way in."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import frames
import layer_zip
import lone_extension
import pytest
from grpc_client import GrpcClient
from lone_extension import HEADER, PARENT, TRACE, Running
from many_spans import Shape, Spans, field
from servers import BOUND_S

MAX_PEAK_KB = 24 * 1024
MAX_REQUEST_BYTES = 4_000_000
SMALL_REQUEST_BYTES = 40_000
XRAY_DAEMON_HEADER = b'{"format":"json","version":1}\n'

SHAPES = [
    Shape("no attributes"),
    Shape("calls", attributes=5, is_call=True),
    Shape("five attributes", attributes=5),
    Shape("huge attributes", attributes=2, value_bytes=3000),
    Shape("giant attributes", count=300, attributes=2, value_bytes=200_000),
    Shape("control characters", count=6000, attributes=2, value_bytes=20_000, value="\x01"),
    Shape("many events", events=30),
    Shape("many links", links=30),
    Shape("long names", name_chars=2000),
    Shape("deep nesting", is_nested=True),
    Shape("thousands of traces", of_a_trace=10),
    Shape("a trace each", of_a_trace=1),
]


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer"))


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> str:
    with socket.socket(type=kind) as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def memory_kb(running: Running, name: str) -> int:
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1])


class At:
    """Where a running extension takes spans in."""

    def __init__(self, running: Running, agent: socket.socket, addresses: dict[str, str]) -> None:
        self.running, self.agent = running, agent
        self.http, self.grpc, self.daemon = (addresses[name] for name in ("HTTP", "GRPC", "DAEMON"))


Send = Callable[[At, Spans], int]
"""Sends all spans, and gives how many have been said to be taken."""


def in_pieces(agent: socket.socket, pieces: list[bytes]) -> None:
    agent.sendall(b"".join(pieces))
    pieces.clear()


def by_agent(at: At, spans: Spans) -> int:
    """Ends, and for calls the starts before them."""
    pieces: list[bytes] = []
    for number in spans.numbers():
        if spans.shape.is_call:
            pieces.append(frames.frame(frames.START, spans.protobuf(number, is_open=True)))
        pieces.append(frames.frame(frames.END, spans.protobuf(number)))
        if len(pieces) > 100:
            in_pieces(at.agent, pieces)
    in_pieces(at.agent, pieces)
    return spans.shape.count


def open_spans(at: At, spans: Spans) -> int:
    """Starts alone: none of them ever ends."""
    pieces: list[bytes] = []
    for number in spans.numbers():
        pieces.append(frames.frame(frames.START, spans.protobuf(number, is_open=True)))
        if len(pieces) > 100:
            in_pieces(at.agent, pieces)
    in_pieces(at.agent, pieces)
    return spans.shape.count


def by_http(limit_bytes: int, is_json: bool = False, is_gzip: bool = False) -> Send:
    def send(at: At, spans: Spans) -> int:
        connection = http.client.HTTPConnection(at.http, timeout=BOUND_S)
        headers = {"Content-Type": "application/json" if is_json else "application/x-protobuf"}
        if is_gzip:
            headers["Content-Encoding"] = "gzip"
        for body in spans.requests(limit_bytes, is_json):
            connection.request("POST", "/v1/traces", gzip.compress(body, 1) if is_gzip else body, headers)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == 200, (answer.status, said)
        connection.close()
        return spans.shape.count

    return send


def by_grpc(limit_bytes: int, is_gzip: bool = False) -> Send:
    def send(at: At, spans: Spans) -> int:
        with contextlib.closing(GrpcClient(at.grpc, BOUND_S)) as client:
            for body in spans.requests(limit_bytes):
                assert client.export(gzip.compress(body, 1) if is_gzip else body, is_gzip)
        return spans.shape.count

    return send


def by_udp(at: At, spans: Spans) -> int:
    host, port = at.daemon.split(":")
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect((host, int(port)))
        for number in spans.numbers():
            document = XRAY_DAEMON_HEADER + spans.document(number).encode()
            if len(document) < 65_000:
                client.send(document)
    return 0


RECEIVERS: dict[str, Send] = {
    "agent": by_agent,
    "open": open_spans,
    "http": by_http(SMALL_REQUEST_BYTES),
    "http-one": by_http(MAX_REQUEST_BYTES),
    "http-gzip": by_http(MAX_REQUEST_BYTES, is_gzip=True),
    "json": by_http(SMALL_REQUEST_BYTES, is_json=True),
    "json-one": by_http(MAX_REQUEST_BYTES, is_json=True),
    "json-gzip": by_http(MAX_REQUEST_BYTES, is_json=True, is_gzip=True),
    "grpc": by_grpc(SMALL_REQUEST_BYTES),
    "grpc-one": by_grpc(MAX_REQUEST_BYTES),
    "grpc-gzip": by_grpc(MAX_REQUEST_BYTES, is_gzip=True),
    "udp": by_udp,
}


def own_span(kind: int, ended: bool) -> bytes:
    ids = (bytes.fromhex(TRACE), (1).to_bytes(8, "big"), bytes.fromhex(PARENT))
    return frames.span(kind, *ids, "app.handler", ended=ended)


def measure(opt: Path, send: Send, shape: Shape, invocations: int = 1, **variables: str) -> dict[str, object]:
    addresses = {"HTTP": free_port(), "GRPC": free_port(), "DAEMON": free_port(socket.SOCK_DGRAM)}
    listening = {
        "OTEL_XRAY_OTLP_HTTP": addresses["HTTP"],
        "OTEL_XRAY_OTLP_GRPC": addresses["GRPC"],
        "OTEL_XRAY_DAEMON": addresses["DAEMON"],
        "OTEL_XRAY_FLUSH_TIMEOUT_MS": "20000",
        "OTEL_XRAY_LOG_LEVEL": "info",
        "OTEL_XRAY_SPOOL": "off",
    }
    with lone_extension.extension(opt, **{**listening, **variables}) as running:
        running.next()
        with running.agent() as agent:
            at = At(running, agent, addresses)
            idle = memory_kb(running, "VmRSS")
            rss = []
            begin = time.monotonic()
            for number in range(invocations):
                event = {"eventType": "INVOKE", "requestId": f"r{number}", "deadlineMs": 0, "invokedFunctionArn": "arn"}
                running.api.send(event)
                agent.sendall(frames.invoke(f"r{number}", HEADER, 0) + own_span(frames.START, False))
                send(at, Spans(shape, TRACE))
                agent.sendall(own_span(frames.END, True) + frames.done(f"r{number}"))
                running.next()
                rss.append(memory_kb(running, "VmRSS"))
            took = time.monotonic() - begin
            peak = memory_kb(running, "VmHWM")
            running.end()
    return {"idle": idle, "peak": peak, "rss": rss, "took": took, "accounts": running.accounts(), "lines": running.lines}


if __name__ == "__main__":
    import sys
    import tempfile

    only = sys.argv[1:] or [*RECEIVERS]
    with tempfile.TemporaryDirectory() as folder:
        layer = layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), Path(folder))
        for name in only:
            for shape in SHAPES:
                if name.startswith("open") and shape.of_a_trace:
                    continue
                try:
                    got = measure(layer, RECEIVERS[name], shape)
                    accounts = got["accounts"]
                    print(f"{name:10} {shape.name:20} peak {got['peak']/1024:6.1f} after {got['rss'][-1]/1024:6.1f} idle {got['idle']/1024:4.1f} {got['took']:5.1f} s", {k: v for k, v in accounts.items() if k != 'event'}, flush=True)
                except Exception as error:
                    print(f"{name:10} {shape.name:20} FAILED {error!r:.150}", flush=True)
