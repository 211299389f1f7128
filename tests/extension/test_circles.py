"""The extension sends nothing to its own receivers, wherever they listen and however that is spelled."""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from pathlib import Path

import layer_zip
import pytest
from lone_extension import TRACE, extension

SPAN = {
    "traceId": TRACE,
    "spanId": "00f067aa0ba902b7",
    "name": "own",
    "startTimeUnixNano": "1000",
    "endTimeUnixNano": "2000",
    "flags": 1,
}


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer"))


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, neither TCP's nor UDP's."""
    found: list[int] = []
    while len(found) < count:
        port = 20_000 + int.from_bytes(os.urandom(2), "big") % 10_000
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


@pytest.mark.parametrize("host", ["127.1", "LOCALHOST", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f.1"])
@pytest.mark.parametrize("receiver", ["http", "grpc", "daemon"])
def test_spans_are_received_once(opt: Path, receiver: str, host: str) -> None:
    http, grpc, daemon = free_ports(3)
    to = {"http": http, "grpc": grpc, "daemon": daemon}[receiver]
    variables = {
        "OTEL_XRAY_OTLP_HTTP": f"127.0.0.1:{http}",
        "OTEL_XRAY_OTLP_GRPC": f"127.0.0.1:{grpc}",
        "OTEL_XRAY_DAEMON": f"127.0.0.1:{daemon}",
        "OTEL_XRAY_OUTLETS": "xray,otlp,daemon",
        "OTEL_XRAY_LOG_LEVEL": "info",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{host}:{to}",
        "AWS_ENDPOINT_URL_XRAY": f"http://{host}:{to}",
        "AWS_XRAY_DAEMON_ADDRESS": f"{host}:{daemon}",
        "OTEL_XRAY_SPOOL": "off",
    }
    with extension(opt, **variables) as running:
        running.next()
        with running.agent() as agent:
            running.invocation(agent, "one")
            body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [SPAN]}]}]}).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{http}/v1/traces", body, {"content-type": "application/json"}
            )
            urllib.request.urlopen(request).close()
            running.invocation(agent, "two")
        said = running.end()
    assert running.accounts()["received"] == 3, said
    for variable in ("OTEL_EXPORTER_OTLP_ENDPOINT", "AWS_ENDPOINT_URL_XRAY"):
        assert sum(variable in line and "circles" in line for line in running.lines) == 1, said
