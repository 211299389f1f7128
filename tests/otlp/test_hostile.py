"""Clients that mean no good, or know no better: the memory stays bounded, and the function's own spans arrive."""

from __future__ import annotations

import contextlib
import gzip
import resource
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Receivers, Start, free_address
from grpc_client import EXPORT, GrpcClient
from lone_extension import TRACE
from servers import BOUND_S

MAX_RSS_KB = 24 * 1024
"""What any number and shape of spans takes at most."""
CONNECTIONS = 1000

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def connect(address: str) -> socket.socket:
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=BOUND_S)


def peak_kb(at: Receivers) -> int:
    status = Path(f"/proc/{at.extension.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])


def post(address: str, body: bytes, *headers: str, path: str = "/v1/traces") -> int:
    """The status that the extension answers with; 0 where it ends the connection instead."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
    with connect(address) as connection:
        with contextlib.suppress(OSError):
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = b""
        with contextlib.suppress(OSError):
            while part := connection.recv(65_536):
                answer += part
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def still_works(at: Receivers) -> None:
    with at.extension.agent() as agent:
        at.extension.invocation(agent, "after")
        _, documents = at.extension.xray.requests.get(timeout=BOUND_S)
        assert [document["trace_id"].replace("-", "")[1:] for document in documents] == [TRACE]
        at.extension.end()
    accounts = at.extension.accounts()
    gone = accounts["sent"] + sum(accounts["dropped"].values()) + sum(accounts["rejected"].values())
    assert accounts["received"] == gone + accounts["carried"]
    assert "unaccounted" not in accounts
    assert not [line for line in at.extension.lines if "panic" in line]


PROTOBUF = "Content-Type: application/x-protobuf"
GZIP = "Content-Encoding: gzip"


def empty_spans(count: int) -> bytes:
    """An export request of so many spans, of two bytes each."""

    def varint(value: int) -> bytes:
        out = b""
        while value > 0x7F:
            out += bytes([value & 0x7F | 0x80])
            value >>= 7
        return out + bytes([value])

    spans = b"\x12\x00" * count
    scope = b"\x12" + varint(len(spans)) + spans
    return b"\x0a" + varint(len(scope)) + scope


def test_bombs_are_refused(receivers: Start) -> None:
    nested = b"\x00" * 500_000_000
    with receivers() as at:
        for body, headers, status in [
            (gzip.compress(nested, 1), [PROTOBUF, GZIP], 413),
            (gzip.compress(b"[" * 4_000_000), ["Content-Type: application/json", GZIP], 400),
            # Small on the wire and large in memory: taken in a few at a time, and dropped without their ids.
            (gzip.compress(empty_spans(2_000_000)), [PROTOBUF, GZIP], 200),
            (b"\x00" * 20_000_000, [PROTOBUF], 413),
            (b'{"resourceSpans":[' + b"{}," * 1_300_000 + b"{}]}", ["Content-Type: application/json"], 200),
        ]:
            assert post(at.http, body, *headers) == status, headers
        assert peak_kb(at) < MAX_RSS_KB
        still_works(at)


def test_malformed_everything_is_answered_or_cut(receivers: Start) -> None:
    with receivers() as at:
        for seed in range(300):
            noise = bytes((seed * 7919 + i * i * 31 + (i >> 3)) & 0xFF for i in range(seed * 3))
            for headers in ([PROTOBUF], [PROTOBUF, GZIP], ["Content-Type: application/json"]):
                assert post(at.http, noise, *headers) in (200, 400)
            for begin in (b"", PREFACE, PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, b"\x83\x86")):
                with connect(at.grpc) as connection, contextlib.suppress(OSError):
                    connection.sendall(begin + noise)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65_536):
                        pass
        for junk in (b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00", b"POST / HTTP/9.9\r\n\r\n", b"A" * 200_000):
            with connect(at.http) as connection, contextlib.suppress(OSError):
                connection.sendall(junk)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65_536)
        assert peak_kb(at) < MAX_RSS_KB
        still_works(at)


def literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


CALL = b"\x83\x86" + literal(b":path", EXPORT) + literal(b"content-type", b"application/grpc")


def open_and_reset(first: int, count: int) -> bytes:
    streams = range(2 * first + 1, 2 * (first + count), 2)
    return b"".join(frame(1, 4, stream, CALL) + frame(3, 0, stream, b"\x00\x00\x00\x08") for stream in streams)


FLOODS: dict[str, tuple[bytes, Callable[[int], bytes], bool | None]] = {
    # What comes first, what comes again and again, and whether the connection is to be ended for it: None where that
    # hangs on whether the answer is out.
    "settings": (b"", lambda _: frame(4, 0, 0, b"\x00\x01\xff\xff\xff\xff\x00\x04\x00\x00\xff\xff") * 1000, False),
    "pings": (b"", lambda _: frame(6, 0, 0, b"a ping!!") * 1000, False),
    "windows": (b"", lambda _: frame(8, 0, 0, b"\x00\x00\x00\x01") * 1000, False),
    "priorities": (b"", lambda n: frame(2, 0, 2 * n + 101, b"\x00\x00\x00\x00\x01") * 1000, False),
    "unknown frames": (b"", lambda _: frame(0xFA, 0, 0, b"?" * 100) * 100, False),
    "rapid resets": (b"", lambda n: open_and_reset(1000 * n, 1000), True),
    "streams that stay open": (
        b"",
        lambda n: b"".join(frame(1, 4, 2 * (100 * n + i) + 1, CALL) for i in range(100)),
        True,
    ),
    "no requests": (b"", lambda n: b"".join(frame(1, 5, 2 * (100 * n + i) + 1, b"\x83") for i in range(100)), True),
    "continuations": (frame(1, 0, 1, CALL), lambda _: frame(9, 0, 1, literal(b"a", b"b" * 100)) * 100, True),
    "empty continuations": (frame(1, 0, 1, CALL), lambda _: frame(9, 0, 1, b"") * 1000, True),
    "empty data": (frame(1, 4, 1, CALL), lambda _: frame(0, 0, 1, b"") * 1000, True),
    "data byte by byte": (frame(1, 4, 1, CALL), lambda _: frame(0, 0, 1, b"a") * 1000, True),
    "data that nobody asked for": (frame(1, 5, 1, CALL), lambda _: frame(0, 0, 1, b"a" * 1000) * 10, None),
    "a list of headers out of one": (
        b"",
        lambda n: frame(1, 4, 2 * n + 1, CALL + b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 10_000),
        True,
    ),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_takes_no_memory_and_harms_nobody_else(receivers: Start, flood: str) -> None:
    first, piece, is_ended = FLOODS[flood]
    with receivers() as at:
        for reads in (True, False):
            with connect(at.grpc) as connection, contextlib.closing(GrpcClient(at.grpc, BOUND_S)) as other:
                connection.settimeout(BOUND_S if reads else 0.5)
                ended = False
                try:
                    connection.sendall(PREFACE + frame(4, 0, 0, b"") + first)
                    for number in range(200):
                        connection.sendall(piece(number))
                        while reads and not ended and select.select([connection], [], [], 0)[0]:
                            ended = connection.recv(1 << 20) == b""
                    while reads and is_ended and not ended:
                        ended = connection.recv(1 << 20) == b""
                except TimeoutError:
                    # Nothing more is taken from who does not read.
                    assert not reads
                except OSError:
                    ended = True
                assert not reads or is_ended in (ended, None)
                assert other.export(empty_spans(1))
        assert peak_kb(at) < MAX_RSS_KB
        still_works(at)


def http_drip(address: str) -> socket.socket:
    connection = connect(address)
    connection.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n" + PROTOBUF.encode())
    return connection


def http_body_drip(address: str) -> socket.socket:
    connection = connect(address)
    connection.sendall(f"POST /v1/traces HTTP/1.1\r\nHost: x\r\n{PROTOBUF}\r\nContent-Length: 4000000\r\n\r\n".encode())
    return connection


def grpc_drip(address: str) -> socket.socket:
    connection = connect(address)
    connection.sendall(PREFACE[:10])
    return connection


def grpc_body_drip(address: str) -> socket.socket:
    connection = connect(address)
    connection.sendall(PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, b"\x83\x86"))
    return connection


@pytest.mark.parametrize("drip", [http_drip, http_body_drip, grpc_drip, grpc_body_drip])
def test_a_client_that_stalls_is_cut(receivers: Start, drip: Callable[[str], socket.socket]) -> None:
    with receivers() as at:
        with drip(at.grpc if "grpc" in drip.__name__ else at.http) as connection:
            heard = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65_536):
                    heard += part
            # An answer where there was a whole head, and in any case the end.
            assert heard == b"" or heard.startswith(b"HTTP/1.1 408") or heard[3] == 4
        still_works(at)


def test_a_thousand_connections_are_served_as_far_as_there_is_room(receivers: Start) -> None:
    with receivers() as at, contextlib.ExitStack() as open_connections:
        half = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n" + PROTOBUF.encode() + b"\r\n\r\n"
        for address, first in ((at.http, half), (at.grpc, PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, b"\x83\x86"))):
            host, port = address.split(":")
            for _ in range(CONNECTIONS // 2):
                connection = open_connections.enter_context(socket.socket())
                connection.setblocking(False)
                connection.connect_ex((host, int(port)))
                with contextlib.suppress(OSError):
                    connection.sendall(first)
                with contextlib.suppress(OSError):
                    connection.send(b"\x00" * 100_000)
        time.sleep(1)
        assert peak_kb(at) < MAX_RSS_KB
        still_works(at)


def test_what_stalls_makes_way_for_who_is_in_earnest(receivers: Start) -> None:
    with receivers() as at:
        stalled = [http_drip(at.http) for _ in range(100)]
        assert post(at.http, empty_spans(10), PROTOBUF) == 200
        for connection in stalled:
            connection.close()
        at.extension.end()
        assert at.extension.accounts()["received"] == 10


def http_idle(address: str) -> socket.socket:
    connection = connect(address)
    connection.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    heard = b""
    while not heard.endswith(b"\r\n\r\n"):
        heard += connection.recv(65_536)
    assert heard.startswith(b"HTTP/1.1 4")
    return connection


def grpc_idle(address: str) -> socket.socket:
    connection = connect(address)
    connection.sendall(PREFACE + frame(4, 0, 0, b"") + frame(6, 0, 0, b"a ping!!"))
    heard = b""
    while b"a ping!!" not in heard:
        heard += connection.recv(65_536)
    return connection


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True


def test_two_hundred_idle_connections_of_each_kind_harm_nobody(receivers: Start) -> None:
    daemon = free_address()
    with receivers(OTEL_XRAY_DAEMON=daemon) as at, contextlib.ExitStack() as open_connections:
        # What Lambda gives a process.
        resource.prlimit(at.extension.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        before = peak_kb(at)
        kinds = {at.http: http_idle, at.grpc: grpc_idle, daemon: http_idle}
        idle = [open_connections.enter_context(kinds[address](address)) for address in kinds for _ in range(200)]
        # Some 20 kB for each of HTTP/2, which `h2` takes for what it will write.
        assert peak_kb(at) - before < 6 * 1024
        assert all(is_open(connection) for connection in idle)
        for _ in range(50):
            for address, connect_idle in kinds.items():
                open_connections.enter_context(connect_idle(address))
        assert post(at.http, empty_spans(10), PROTOBUF) == 200
        still_works(at)


@pytest.mark.parametrize("connect_idle", [http_idle, grpc_idle])
def test_an_idle_connection_outlives_the_interval_of_the_exporters(
    receivers: Start, connect_idle: Callable[[str], socket.socket]
) -> None:
    with receivers() as at, connect_idle(at.http if connect_idle is http_idle else at.grpc) as connection:
        # The exporters send every 5 s, and Lambda may freeze the extension meanwhile.
        time.sleep(0.5)
        at.extension.process.send_signal(signal.SIGSTOP)
        time.sleep(6)
        at.extension.process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        assert is_open(connection)
