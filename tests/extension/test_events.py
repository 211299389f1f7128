"""The extension alone, between stand-ins: events that no loop should die of."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import frames
import layer_zip
import plan
import pytest
from servers import BOUND_S, ExtensionsApi, XRay, serving

PARENT = "53995c3f42cd8ad8"
TRACE = "5759e988bd862e3fe1be46a994272793"
HEADER = f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={PARENT};Sampled=1"


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    api: ExtensionsApi
    xray: XRay
    socket: str

    def next(self) -> None:
        self.api.next_calls.get(timeout=BOUND_S)

    @contextmanager
    def agent(self) -> Iterator[socket.socket]:
        with frames.connect(self.socket) as agent:
            agent.sendall(frames.hello())
            yield agent

    def invocation(self, agent: socket.socket, request_id: str) -> None:
        """One whole invocation with one span; returns when the extension has asked for the next event."""
        ids = (bytes.fromhex(TRACE), os.urandom(8), bytes.fromhex(PARENT))
        self.api.send({"eventType": "INVOKE", "requestId": request_id, "deadlineMs": 0, "invokedFunctionArn": "arn"})
        agent.sendall(frames.invoke(request_id, HEADER, 0))
        agent.sendall(frames.span(frames.END, *ids, "app.handler", ended=True))
        agent.sendall(frames.done(request_id))
        self.next()

    def end(self) -> str:
        deadline_ms = int((time.time() + BOUND_S) * 1000)
        event = {"eventType": "SHUTDOWN", "shutdownReason": "something new", "deadlineMs": deadline_ms, "more": [1]}
        self.api.send(event)
        assert self.process.wait(timeout=BOUND_S) == 0
        assert self.process.stdout
        return self.process.stdout.read().decode()


@contextmanager
def extension(opt: Path) -> Iterator[Running]:
    api, xray, name = ExtensionsApi(), XRay(), f"events-{uuid.uuid4()}"
    with serving(api.handler()) as api_address, serving(xray.handler()) as xray_address:
        environment = {
            "AWS_LAMBDA_RUNTIME_API": api_address,
            "AWS_ENDPOINT_URL_XRAY": f"http://{xray_address}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "OTEL_XRAY_AGENT_SOCKET": name,
            "OTEL_XRAY_OTLP_HTTP": "off",
            "OTEL_XRAY_OTLP_GRPC": "off",
            "OTEL_XRAY_DAEMON": "off",
        }
        process = subprocess.Popen([opt / plan.EXTENSION], env=environment, stdout=subprocess.PIPE)
        try:
            yield Running(process, api, xray, name)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer"))


@pytest.mark.parametrize(
    "odd",
    [
        {"eventType": "RESTORE"},
        {"eventType": "INVOKE"},
        {"eventType": "INVOKE", "requestId": "r", "deadlineMs": "soon", "tracing": {}},
        {"nothing": "known"},
        [],
    ],
)
def test_t_10_an_event_nobody_knows_stops_nothing(opt: Path, odd: Any) -> None:
    with extension(opt) as running:
        running.next()
        running.api.send(odd)
        running.next()
        with running.agent() as agent:
            running.invocation(agent, "after-it")
        _, documents = running.xray.requests.get(timeout=BOUND_S)
        assert [document["trace_id"] for document in documents] == [f"1-{TRACE[:8]}-{TRACE[8:]}"]
        said = running.end()
    assert running.api.errors == []
    # An event of a known kind is taken as far as it can be read; one that is passed over is told.
    is_known = isinstance(odd, dict) and odd.get("eventType") == "INVOKE"
    assert said.count("\n") == (0 if is_known else 1), said


def test_t_2_what_an_agent_wrote_before_an_event_counts_for_it(opt: Path) -> None:
    with extension(opt) as running:
        running.next()
        with running.agent() as agent:
            for number in range(20):
                running.invocation(agent, f"request-{number}")
                assert running.xray.requests.qsize() == 1, "sent before the next event is asked for (T-2)"
                running.xray.requests.get_nowait()
        assert running.end() == ""


def test_l_5_3_a_next_that_takes_long_is_waited_for(opt: Path) -> None:
    with extension(opt) as running:
        running.next()
        time.sleep(1)
        assert running.api.next_calls.empty(), "no second next while one is waiting"
        with running.agent() as agent:
            running.invocation(agent, "late")
        assert running.end() == ""
