"""The OTLP exporters of several languages against the built extension."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest
from conftest import Start
from installed import built, tool
from servers import BOUND_S, Handler, serving

HERE = Path(__file__).parent
SPANS = 300


def run(client: str, protocol: str, endpoint: str, name: str, count: int = SPANS) -> None:
    environment = {**os.environ}
    if client == "python":
        command = [tool("otlp-python") / "python", HERE / "client.py"]
    elif client == "nodejs":
        cpu = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
        node = tool("node-test") / "node_modules" / f"node22-{cpu}" / "bin" / "node"
        command = [node, HERE / "nodejs" / "client.mjs"]
        environment["NODE_CLIENT_MODULES"] = str(tool("otlp-node"))
    elif client == "rust":
        command = [built("debug/examples/otlp_client")]
    else:
        command = ["java", "-cp", f"{tool('otlp-java')}/*:{built('otlp-java-client')}", "Client"]
    arguments = [protocol, endpoint, name, str(count)]
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=BOUND_S)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("client", "protocol"),
    [
        ("python", "http"),
        ("python", "grpc"),
        ("rust", "http"),
        ("rust", "grpc"),
        ("nodejs", "http"),
        ("nodejs", "proto"),
        ("nodejs", "grpc"),
        ("java", "http"),
        ("java", "grpc"),
    ],
)
def test_every_span_of_a_real_exporter_arrives(receivers: Start, client: str, protocol: str) -> None:
    with receivers() as at:
        endpoint = f"http://{at.grpc if protocol == 'grpc' else at.http}"
        run(client, protocol, endpoint, f"{client}-{protocol}")
        said = at.extension.end()
        accounts = at.extension.accounts()
        assert (accounts["received"], accounts["sent"], accounts["carried"]) == (SPANS, SPANS, 0), said
        assert said.count("\n") == 1, said
        found = 0
        while not at.extension.xray.requests.empty():
            _, documents = at.extension.xray.requests.get_nowait()
            found += sum(f"{client}-{protocol}" in str(document) for document in documents)
        assert found == SPANS


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_metrics_without_an_outlet_are_counted_and_dropped_with_one_line(receivers: Start, protocol: str) -> None:
    with receivers() as at:
        run("python", protocol, f"http://{at.grpc if protocol == 'grpc' else at.http}", "with-metrics", 1)
        at.extension.end()
        relayed = at.extension.accounts("otel_xray.relayed_requests")["metrics"]
        assert relayed["received"] == relayed["dropped"]["no_outlet"] > 0
        lines = [line for line in at.extension.lines if "metrics that the function sends are dropped" in line]
        assert len(lines) == 1
        assert at.extension.accounts()["sent"] == 1


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_metrics_go_on_to_the_outlet_as_they_came(receivers: Start, protocol: str) -> None:
    came: list[tuple[str, str, bytes]] = []

    class Collector(Handler):
        def do_POST(self) -> None:
            came.append((self.path, str(self.headers["x-tenant"]), self.body()))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Collector) as collector:
        variables = {
            "OTEL_XRAY_OUTLETS": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector}/base",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "x-tenant=shop",
        }
        with receivers(**variables) as at:
            run("python", protocol, f"http://{at.grpc if protocol == 'grpc' else at.http}", "with-metrics", 1)
            at.extension.end()
            relayed = at.extension.accounts("otel_xray.relayed_requests")["metrics"]
            assert relayed["received"] == relayed["sent"] > 0
    metrics = [(tenant, body) for path, tenant, body in came if path == "/base/v1/metrics"]
    assert len(metrics) == relayed["sent"]
    assert metrics[0][0] == "shop"
    assert b"orders" in metrics[0][1]
    assert [path for path, _, _ in came].count("/base/v1/traces") == 1


def test_a_taken_port_costs_a_line_and_nothing_else(receivers: Start) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with receivers(OTEL_XRAY_OTLP_GRPC=address) as at, at.extension.agent() as agent:
            at.extension.invocation(agent, "r")
            at.extension.xray.requests.get(timeout=BOUND_S)
            at.extension.end()
            complaints = [line for line in at.extension.lines if not line.startswith("{")]
            assert len(complaints) == 1
            assert f"OTLP over gRPC on {address} could not be opened" in complaints[0]
