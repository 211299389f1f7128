"""What the extension takes at most, whatever spans an invocation leaves, over every way in and out."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import frames
import layer_zip
import lone_extension
import pytest
from grpc_client import GrpcClient
from lone_extension import HEADER, PARENT, TRACE, Running
from many_spans import Shape, Spans
from servers import BOUND_S, Handler, serving

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


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.bytes_taken = 0

    def handler(self) -> type[Handler]:
        collector = self

        class Endpoint(Handler):
            def do_POST(self) -> None:
                collector.bytes_taken += len(self.body())
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        return Endpoint


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


DOWN = "http://127.0.0.1:1"


def test_p8_what_waits_while_x_ray_is_down_counts_too(opt: Path) -> None:
    invocations = 4
    with start(opt, AWS_ENDPOINT_URL_XRAY=DOWN) as at:
        for number in range(invocations):
            for shape in (EACH, FIVE):
                invoke(at, f"{shape}-{number}", by_agent, Spans(replace(shape, count=30_000), TRACE))
        peak = at.kb("VmHWM")
        accounts = balanced(at, invocations * (2 * 30_000 + 2))
    print(f"at most {peak / 1024:.1f} MB, {accounts}")
    assert accounts["dropped"]["not_spooled"] > 1000, "what the buffer held at the end"
    assert peak <= MAX_PEAK_KB


@pytest.mark.parametrize("are_down", [False, True], ids=["up", "down"])
def test_p8_several_outlets_share_the_room(opt: Path, are_down: bool) -> None:
    collector = Collector()
    with socket.socket(type=socket.SOCK_DGRAM) as daemon, serving(collector.handler()) as address:
        daemon.bind(("127.0.0.1", 0))
        variables = {
            "OTEL_XRAY_OUTLETS": "xray,daemon,otlp",
            "AWS_XRAY_DAEMON_ADDRESS": f"127.0.0.1:{daemon.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{DOWN if are_down else 'http://' + address}/v1/traces",
        }
        if are_down:
            daemon.close()
            variables["AWS_ENDPOINT_URL_XRAY"] = DOWN
        with start(opt, **variables) as at:
            for number in range(3):
                invoke(at, f"each-{number}", by_http(MAX_REQUEST_BYTES), Spans(EACH, TRACE))
                invoke(at, f"five-{number}", by_agent, Spans(FIVE, TRACE))
            peak = at.kb("VmHWM")
            at.running.end()
            accounts = at.running.accounts()
    print(f"at most {peak / 1024:.1f} MB, {accounts}")
    assert accounts["received"] == 6 * (SPANS + 1)
    assert "unaccounted" not in str(accounts)
    assert collector.bytes_taken > 0 or are_down
    assert peak <= MAX_PEAK_KB


def test_p8_whole_traces_go_to_a_collector_as_far_as_there_is_room(opt: Path) -> None:
    collector = Collector()
    with serving(collector.handler()) as address:
        endpoint = f"http://{address}/v1/traces"
        with start(opt, OTEL_XRAY_OUTLETS="otlp", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=endpoint) as at:
            invoke(at, "r", by_agent, Spans(replace(FIVE, count=8000), TRACE))
            few = collector.bytes_taken
            invoke(at, "s", by_agent, Spans(FIVE, TRACE))
            peak = at.kb("VmHWM")
            accounts = balanced(at, 8001 + SPANS + 1)
    print(f"at most {peak / 1024:.1f} MB, {accounts}")
    assert "trace_budget" not in accounts["dropped"], accounts
    assert few > 8000 * 200, "more of one trace than X-Ray takes"
    assert peak <= MAX_PEAK_KB


@pytest.mark.parametrize("outlets", ["xray", "xray,otlp"])
def test_p8_metrics_and_logs_that_cannot_be_sent_on(opt: Path, outlets: str) -> None:
    with start(opt, OTEL_XRAY_OUTLETS=outlets, OTEL_EXPORTER_OTLP_ENDPOINT=DOWN) as at:
        with contextlib.closing(http.client.HTTPConnection(at.http, timeout=BOUND_S)) as connection:
            for number in range(30):
                headers = {"Content-Type": "application/x-protobuf"}
                connection.request("POST", f"/v1/{('metrics', 'logs')[number % 2]}", b"\0" * MAX_REQUEST_BYTES, headers)
                assert connection.getresponse().read() == b""
        invoke(at, "r", by_agent, Spans(EACH, TRACE))
        peak = at.kb("VmHWM")
        at.running.end()
        accounts = at.running.accounts()
        relayed = at.running.accounts("otel_xray.relayed_requests")
    print(f"at most {peak / 1024:.1f} MB, {accounts}, {relayed}")
    assert accounts["received"] == SPANS + 1 and "unaccounted" not in str(accounts)
    assert sum(relayed[signal]["received"] for signal in ("metrics", "logs")) == 30
    assert peak <= MAX_PEAK_KB


def test_p8_questions_of_x_ray_sdks(opt: Path) -> None:
    with start(opt) as at, contextlib.ExitStack() as open_connections:
        host, port = at.daemon.split(":")
        head = f"POST /GetSamplingRules HTTP/1.1\r\nHost: x\r\nContent-Length: {64 * 1024}\r\n\r\n".encode()
        for _ in range(60):
            connection = open_connections.enter_context(socket.create_connection((host, int(port)), BOUND_S))
            connection.sendall(head + b"{" + b" " * (64 * 1024 - 10))
        invoke(at, "r", by_udp, Spans(EACH, TRACE))
        peak = at.kb("VmHWM")
    assert peak <= MAX_PEAK_KB


def test_p8_l_2_2_what_an_earlier_extension_left(opt: Path, tmp_path: Path) -> None:
    spool = {"OTEL_XRAY_SPOOL": str(tmp_path / "spool")}
    with start(opt, AWS_ENDPOINT_URL_XRAY=DOWN, **spool) as at:
        invoke(at, "r", by_agent, Spans(EACH, TRACE))
        at.running.end()
        left = at.running.accounts()["carried"]
    with start(opt, **spool) as at:
        invoke(at, "s", by_agent, Spans(EACH, TRACE))
        peak = at.kb("VmHWM")
        at.running.end()
        accounts = at.running.accounts()
    print(f"at most {peak / 1024:.1f} MB, {accounts}")
    assert accounts["restored"] == left > 1000
    assert peak <= MAX_PEAK_KB


def test_p8_invocation_after_invocation_takes_no_more(opt: Path) -> None:
    resident = []
    with start(opt) as at:
        for number in range(50):
            shape = (FIVE, EACH, HUGE)[number % 3]
            invoke(at, f"r{number}", by_agent, Spans(replace(shape, count=4000), f"5759e988{number + 1:024x}"))
            resident.append(at.kb("VmRSS"))
        documents_at_xray(at)
        balanced(at, 50 * 4001)
    print(resident)
    assert max(resident[-9:]) <= max(resident[3:12]) + 512
    assert max(resident) <= MAX_AFTER_KB
