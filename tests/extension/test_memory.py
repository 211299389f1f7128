"""What the extension takes at most, whatever an invocation leaves, over every way in and out."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import frames
import layer_zip
import lone_extension
import pytest
from grpc_client import GrpcClient
from lone_extension import HEADER, PARENT, TRACE, Running
from many_spans import Shape, Spans
from servers import BOUND_S

MAX_PEAK_KB = 24 * 1024
MAX_AFTER_KB = 8 * 1024
"""Resident when what was held has left: near what an environment has that has flushed ten spans."""
MAX_REQUEST_BYTES = 4_000_000
SMALL_REQUEST_BYTES = 40_000
DAEMON_HEADER = b'{"format":"json","version":1}\n'
MAX_DATAGRAM_BYTES = 65_000

SPANS = 60_000
EMPTY = Shape("no attributes", SPANS)
CALLS = Shape("calls", SPANS, attributes=5, is_call=True)
FIVE = Shape("five attributes", SPANS, attributes=5)
HUGE = Shape("huge attributes", SPANS, attributes=2, value_bytes=1000)
GIANT = Shape("giant attributes", 200, attributes=2, value_bytes=200_000)
CONTROL = Shape("control characters", 2000, attributes=2, value_bytes=10_000, value="\x01")
EVENTS = Shape("many events", SPANS, events=20)
LINKS = Shape("many links", SPANS, links=20)
NAMES = Shape("long names", SPANS, name_chars=1000)
NESTED = Shape("deep nesting", SPANS, is_nested=True)
TRACES = Shape("thousands of traces", SPANS, of_a_trace=10)
EACH = Shape("a trace each", SPANS, of_a_trace=1)
ALL = [EMPTY, CALLS, FIVE, HUGE, GIANT, CONTROL, EVENTS, LINKS, NAMES, NESTED, TRACES, EACH]
SOME = [EMPTY, HUGE, EVENTS, EACH]
OF_LAMBDAS_TRACE = [shape for shape in ALL if not shape.of_a_trace]


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer"))


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> str:
    with socket.socket(type=kind) as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@dataclass
class At:
    """A running extension, and where it takes spans in."""

    running: Running
    agent: socket.socket
    http: str
    grpc: str
    daemon: str
    in_pieces: list[bytes] = field(default_factory=list)

    def write(self, frame: bytes, most: int = 100) -> None:
        self.in_pieces.append(frame)
        if len(self.in_pieces) >= most:
            self.agent.sendall(b"".join(self.in_pieces))
            self.in_pieces.clear()

    def kb(self, name: str) -> int:
        status = Path(f"/proc/{self.running.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith(f"{name}:")]
        return int(line.split()[1])


Send = Callable[[At, Spans], None]


def by_agent(at: At, spans: Spans) -> None:
    for number in spans.numbers():
        if spans.shape.is_call:
            at.write(frames.frame(frames.START, spans.protobuf(number, is_open=True)))
        at.write(frames.frame(frames.END, spans.protobuf(number)))


def by_agent_unended(at: At, spans: Spans) -> None:
    for number in spans.numbers():
        at.write(frames.frame(frames.START, spans.protobuf(number, is_open=True)))


def by_http(limit_bytes: int, is_json: bool = False, is_gzip: bool = False) -> Send:
    def send(at: At, spans: Spans) -> None:
        headers = {"Content-Type": "application/json" if is_json else "application/x-protobuf"}
        if is_gzip:
            headers["Content-Encoding"] = "gzip"
        with contextlib.closing(http.client.HTTPConnection(at.http, timeout=BOUND_S)) as connection:
            for body in spans.requests(limit_bytes, is_json):
                connection.request("POST", "/v1/traces", gzip.compress(body, 1) if is_gzip else body, headers)
                answer = connection.getresponse()
                said = answer.read()
                assert answer.status == 200, said

    return send


def by_grpc(limit_bytes: int, is_gzip: bool = False) -> Send:
    def send(at: At, spans: Spans) -> None:
        with contextlib.closing(GrpcClient(at.grpc, BOUND_S)) as client:
            for body in spans.requests(limit_bytes):
                assert client.export(gzip.compress(body, 1) if is_gzip else body, is_gzip)

    return send


def by_udp(at: At, spans: Spans) -> None:
    host, port = at.daemon.split(":")
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect((host, int(port)))
        for number in spans.numbers():
            document = DAEMON_HEADER + spans.document(number).encode()
            client.send(document[:MAX_DATAGRAM_BYTES])


CASES: dict[str, tuple[Send, list[Shape]]] = {
    "agent": (by_agent, ALL),
    "agent, unended": (by_agent_unended, OF_LAMBDAS_TRACE),
    "http": (by_http(MAX_REQUEST_BYTES), ALL),
    "http, small": (by_http(SMALL_REQUEST_BYTES), SOME),
    "http, gzip": (by_http(MAX_REQUEST_BYTES, is_gzip=True), SOME),
    "json": (by_http(MAX_REQUEST_BYTES, is_json=True), [*SOME, GIANT]),
    "json, small": (by_http(SMALL_REQUEST_BYTES, is_json=True), [EMPTY]),
    "json, gzip": (by_http(MAX_REQUEST_BYTES, is_json=True, is_gzip=True), [GIANT, HUGE]),
    "grpc": (by_grpc(MAX_REQUEST_BYTES), SOME),
    "grpc, small": (by_grpc(SMALL_REQUEST_BYTES), [EMPTY]),
    "grpc, gzip": (by_grpc(MAX_REQUEST_BYTES, is_gzip=True), SOME),
    "udp": (by_udp, ALL),
}


@contextlib.contextmanager
def start(opt: Path, **variables: str) -> Any:
    listening = {"HTTP": free_port(), "GRPC": free_port(), "DAEMON": free_port(socket.SOCK_DGRAM)}
    usual = {
        "OTEL_XRAY_OTLP_HTTP": listening["HTTP"],
        "OTEL_XRAY_OTLP_GRPC": listening["GRPC"],
        "OTEL_XRAY_DAEMON": listening["DAEMON"],
        # A stand-in in Python reads much slower than X-Ray.
        "OTEL_XRAY_FLUSH_TIMEOUT_MS": "60000",
        "OTEL_XRAY_LOG_LEVEL": "info",
        "OTEL_XRAY_SPOOL": "off",
    }
    with lone_extension.extension(opt, **{**usual, **variables}) as running:
        running.next()
        with running.agent() as agent:
            yield At(running, agent, *listening.values())


def handlers_span(kind: int, ended: bool) -> bytes:
    ids = (bytes.fromhex(TRACE), (1).to_bytes(8, "big"), bytes.fromhex(PARENT))
    return frames.span(kind, *ids, "app.handler", ended=ended)


def invoke(at: At, request_id: str, send: Send, spans: Spans) -> None:
    event = {"eventType": "INVOKE", "requestId": request_id, "deadlineMs": 0, "invokedFunctionArn": "arn"}
    at.running.api.send(event)
    at.write(frames.invoke(request_id, HEADER, 0) + handlers_span(frames.START, False), 1)
    send(at, spans)
    at.write(handlers_span(frames.END, True) + frames.done(request_id), 1)
    at.running.next()


def documents_at_xray(at: At) -> list[dict[str, Any]]:
    requests = at.running.xray.requests
    return [document for _ in range(requests.qsize()) for document in requests.get()[1]]


def balanced(at: At, received: int) -> dict[str, Any]:
    at.running.end()
    accounts = at.running.accounts()
    gone = accounts["sent"] + sum(accounts["dropped"].values()) + sum(accounts["rejected"].values())
    assert accounts["received"] == gone + accounts["carried"], accounts
    assert accounts["received"] == received, accounts
    assert not [line for line in at.running.lines if "panic" in line]
    return accounts


@pytest.mark.parametrize(
    ("way", "shape"), [(way, shape) for way, (_, shapes) in CASES.items() for shape in shapes], ids=lambda one: str(one)
)
def test_p8_any_number_and_shape_of_spans_takes_24_mb_at_most(opt: Path, way: str, shape: Shape) -> None:
    with start(opt) as at:
        invoke(at, "r", CASES[way][0], Spans(shape, TRACE))
        peak, after = at.kb("VmHWM"), at.kb("VmRSS")
        documents = documents_at_xray(at)
        accounts = balanced(at, shape.count + 1)
    print(f"{way}, {shape}: at most {peak / 1024:.1f} MB, then {after / 1024:.1f} MB, {accounts}")
    assert len([one for one in documents if one["id"] == f"{1:016x}" and "end_time" in one]) == 1, "the handler's"
    assert accounts["sent"] < shape.count, "more than there is room for"
    assert set(accounts["dropped"]) <= {"trace_budget", "buffer_full", "overrun", "unreadable"}, accounts
    assert peak <= MAX_PEAK_KB
    # What is still open is held.
    assert "unended" in way or after <= MAX_AFTER_KB
