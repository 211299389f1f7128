"""The extension alone, between stand-ins for Lambda and X-Ray."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import frames
import plan
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
    lines: list[str] = field(default_factory=list)
    """What it has said, when it has ended."""

    def next(self) -> None:
        self.api.next_calls.get(timeout=BOUND_S)

    @contextmanager
    def agent(self) -> Iterator[socket.socket]:
        with frames.connect(self.socket) as agent:
            agent.sendall(frames.hello())
            yield agent

    def invocation(self, agent: socket.socket, request_id: str) -> None:
        """One whole invocation with one span; returns when the extension has asked for the next event."""
        self.start(agent, request_id)
        self.next()

    def start(self, agent: socket.socket, request_id: str) -> None:
        """The same, without waiting for what the extension does then."""
        ids = (bytes.fromhex(TRACE), os.urandom(8), bytes.fromhex(PARENT))
        self.api.send({"eventType": "INVOKE", "requestId": request_id, "deadlineMs": 0, "invokedFunctionArn": "arn"})
        agent.sendall(frames.invoke(request_id, HEADER, 0))
        agent.sendall(frames.span(frames.END, *ids, "app.handler", ended=True))
        agent.sendall(frames.done(request_id))

    def end(self) -> str:
        deadline_ms = int((time.time() + BOUND_S) * 1000)
        event = {"eventType": "SHUTDOWN", "shutdownReason": "something new", "deadlineMs": deadline_ms, "more": [1]}
        self.api.send(event)
        assert self.process.wait(timeout=BOUND_S) == 0
        assert self.process.stdout
        said = self.process.stdout.read().decode()
        self.lines = said.splitlines()
        return said

    def accounts(self, event: str = "otel_xray.accounting") -> dict[str, Any]:
        """The accounts at the end."""
        found = [json.loads(line) for line in self.lines if line.startswith("{")]
        [accounts] = [line for line in found if line["event"] == event]
        return accounts


@contextmanager
def extension(opt: Path, before: Sequence[str] = (), **variables: str) -> Iterator[Running]:
    """`before` is a command that becomes the extension."""
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
            # A busy machine is no fault: how long a flush takes is not looked at here.
            "OTEL_XRAY_FLUSH_TIMEOUT_MS": "60000",
            # What another test has left is not this one's.
            "OTEL_XRAY_SPOOL": "off",
            **variables,
        }
        process = subprocess.Popen([*before, opt / plan.EXTENSION], env=environment, stdout=subprocess.PIPE)
        try:
            yield Running(process, api, xray, name)
        finally:
            process.kill()
            process.wait()
