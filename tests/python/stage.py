"""The stage of the Python agent's tests: the real runtime client between a Runtime API and a listener for frames."""

from __future__ import annotations

import json
import os
import queue
import shutil
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from installed import tool
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from servers import BOUND_S, Handler, serving

ROOT = Path(__file__).resolve().parents[2]
WRAPPER = ROOT / "wrapper"
LAUNCHER = os.environ["OTEL_XRAY_LAUNCHER"]
"""What `layer-build/launcher.sh` prints."""

TRACE = "5759e988bd862e3fe1be46a994272793"
PARENT = "53995c3f42cd8ad8"
HEADER = f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={PARENT};Sampled=1"
ARN = "arn:aws:lambda:eu-west-1:123456789012:function:shop"

BOOTSTRAP = """
import os, sys
sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
if "PYTHONPATH" not in os.environ:
    sys.path.append(os.environ["OPT"] + "/python")
from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_client import LambdaRuntimeClient
bootstrap.run(os.environ["_HANDLER"], LambdaRuntimeClient(os.environ["AWS_LAMBDA_RUNTIME_API"], False))
"""

OLD_CLIENT = (
    BOOTSTRAP.rpartition("\n")[0].rpartition("\n")[0]
    + """
def get_handler(handler, current=bootstrap._get_handler):
    try:
        return current(handler)
    except bootstrap.FaultException as error:
        fault = error
    def result(*arguments):
        raise fault
    return result
bootstrap._get_handler = get_handler
client = LambdaRuntimeClient(os.environ["AWS_LAMBDA_RUNTIME_API"], False)
sink = bootstrap.StandardLogSink()
try:
    handler = bootstrap._get_handler(os.environ["_HANDLER"])
except Exception:
    error = bootstrap.build_fault_result(sys.exc_info(), None)
    bootstrap.log_error(error, sink)
    client.post_init_error(error)
    sys.exit(1)
while True:
    event = client.wait_next_invocation()
    bootstrap.update_xray_env_variable(event.x_amzn_trace_id)
    bootstrap.handle_event_request(
        client, handler, event.invoke_id, event.event_body, event.content_type, event.client_context,
        event.cognito_identity, event.invoked_function_arn, event.deadline_time_in_ms, event.tenant_id, sink
    )
"""
)
"""As clients before the third version load a handler, in container images: what they have no name for is raised by the
handler, and no error of theirs is known where it is loaded."""


@dataclass(frozen=True)
class Answer:
    """What the runtime posted for one invocation (or for its initialisation)."""

    path: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def comparable(self) -> tuple[str, str]:
        """Kind and body without the request's own id."""
        kind = self.path.rsplit("/", 1)[1]
        request_id = self.path.split("/")[-2]
        return kind, self.body.decode().replace(request_id, "REQUEST")


class RuntimeApi:
    """Hands out events one by one, and keeps the answers."""

    def __init__(self) -> None:
        self.events: queue.Queue[tuple[str, bytes, str | None]] = queue.Queue()
        self.answers: queue.Queue[Answer] = queue.Queue()

    def handler(self) -> type[Handler]:
        api = self

        class Api(Handler):
            def do_GET(self) -> None:
                request_id, event, header = api.events.get()
                self.send_response(200)
                headers = {
                    "Lambda-Runtime-Aws-Request-Id": request_id,
                    "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 60_000),
                    "Lambda-Runtime-Invoked-Function-Arn": ARN,
                    "Content-Type": "application/json",
                    "Content-Length": str(len(event)),
                }
                if header is not None:
                    headers["Lambda-Runtime-Trace-Id"] = header
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(event)

            def do_POST(self) -> None:
                api.answers.put(Answer(self.path, self.body(), dict(self.headers)))
                self.answer(202, {"status": "OK"})

        return Api


@dataclass
class Frames:
    """A listener in the extension's place."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)
    # The kinds of the frames of each connection: those of two mix as their threads will have it.
    of_connections: list[list[int]] = field(default_factory=list)

    @property
    def connections(self) -> int:
        return len(self.of_connections)

    def of(self, kind: int) -> list[bytes]:
        return [payload for found, payload in self.frames if found == kind]

    def ended(self) -> list[Span]:
        return [Span.FromString(payload) for payload in self.of(4)]

    def started(self) -> list[Span]:
        return [Span.FromString(payload) for payload in self.of(3)]

    def named(self, name: str) -> Span:
        found = [span for span in self.ended() if span.name == name]
        assert len(found) == 1, f"{len(found)} spans {name!r} in {[span.name for span in self.ended()]}"
        return found[0]

    def wait_for(self, kind: int, count: int) -> None:
        """Waits until that many frames of this kind have come: they are on the way when the answer is there."""
        deadline = time.monotonic() + BOUND_S
        while len(self.of(kind)) < count:
            assert time.monotonic() < deadline, f"{len(self.of(kind))} of {count} frames of type {kind}"
            time.sleep(0.005)

    @contextmanager
    def listening(self, name: str) -> Iterator[None]:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind("\0" + name)
        listener.listen()

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kinds: list[int] = []
                self.of_connections.append(kinds)
                threading.Thread(target=self._read, args=(connection, kinds), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _read(self, connection: socket.socket, kinds: list[int]) -> None:
        data = b""
        while chunk := connection.recv(65536):
            data += chunk
            while len(data) >= 5:
                kind, length = struct.unpack_from("<BI", data)
                if len(data) < 5 + length:
                    break
                kinds.append(kind)
                self.frames.append((kind, data[5 : 5 + length]))
                data = data[5 + length :]


def attributes(holder: Any) -> dict[str, Any]:
    """The attributes of a span or an event as plain values."""

    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        if kind == "array_value":
            return [plain(item) for item in value.array_value.values]
        if kind == "kvlist_value":
            return {entry.key: plain(entry.value) for entry in value.kvlist_value.values}
        return getattr(value, kind) if kind else None

    return {entry.key: plain(entry.value) for entry in holder.attributes}


class Function:
    """A function's running process."""

    def __init__(self, process: subprocess.Popen[bytes], api: RuntimeApi, frames: Frames, folder: Path) -> None:
        self.process = process
        self.frames = frames
        self._api = api
        self._folder = folder

    def invoke(self, event: object = None, header: str | None = HEADER, *, answered: bool = True) -> Answer:
        request_id = str(uuid.uuid4())
        self._api.events.put((request_id, json.dumps(event).encode(), header))
        if not answered:
            return Answer(f"/{request_id}/none", b"", {})
        return self._api.answers.get(timeout=BOUND_S)

    def answer(self, bound_s: float = BOUND_S) -> Answer:
        """An answer that nobody waits for: an error of the initialisation, or of an invocation that takes its time."""
        return self._api.answers.get(timeout=bound_s)

    def output(self) -> str:
        """Everything the process has written, after its end."""
        self.process.kill()
        self.process.wait()
        return (self._folder / "output").read_text()


def interpreter() -> str:
    """The Python with the runtime client: OTEL_XRAY_TEST_PYTHON, else the checkout's."""
    if path := os.environ.get("OTEL_XRAY_TEST_PYTHON"):
        return path
    return str(tool("runtime") / "python3")


@lru_cache
def version() -> str:
    """The interpreter's."""
    ask = [interpreter(), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(ask, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def bundled(name: str) -> Path:
    """The packages of tests/requirements/bundled, as a function of the interpreter's version brings them along."""
    return tool("bundled", name, version())


def pins(name: str) -> dict[str, str]:
    """Which packages those are, and their versions; nothing where this version of Python has none of that name."""
    folder = ROOT / "tests" / "requirements" / "bundled"
    files = (folder / f"{name}-python{version()}.txt", folder / f"{name}.txt")
    found = next((file for file in files if file.exists()), None)
    lines = found.read_text().splitlines() if found is not None else []
    return dict(line.split("==") for line in lines if "==" in line)


def lay_out(opt: Path, python: str) -> None:
    """The agent as the layer has it, compiled for this interpreter."""
    shutil.copytree(
        WRAPPER / "python" / "_otel_xray_agent",
        opt / "python" / "_otel_xray_agent",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(LAUNCHER, opt)
    compile_all = [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(opt / "python")]
    subprocess.run(compile_all, check=True)


@contextmanager
def function(
    folder: Path,
    sources: Mapping[str, str] | str,
    *,
    layer: bool = True,
    listening: bool = True,
    handler: str = "app.handler",
    variables: Mapping[str, str] | None = None,
    python: str | None = None,
    bootstrap: str = BOOTSTRAP,
) -> Iterator[Function]:
    """Starts the function as the managed runtime would, with or without the layer."""
    python = python or interpreter()
    opt, task = folder / "opt", folder / "task"
    if not opt.exists():
        lay_out(opt, python)
    for name, source in (sources if isinstance(sources, dict) else {"app.py": sources}).items():
        path = task / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    runtime = folder / "bootstrap.py"
    runtime.write_text(bootstrap)
    api, frames = RuntimeApi(), Frames()
    socket_name = f"otel-xray-test-{uuid.uuid4()}"
    with serving(api.handler()) as address, (folder / "output").open("wb") as output:
        environment = {
            "PATH": os.defpath,
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_FUNCTION_NAME": "shop",
            "AWS_LAMBDA_FUNCTION_VERSION": "7",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "LAMBDA_TASK_ROOT": str(task),
            "_HANDLER": handler,
            "OPT": str(opt),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OTEL_XRAY_AGENT_SOCKET": socket_name,
            # What is decided here otherwise, test_sampling.py tests.
            "OTEL_XRAY_SAMPLING": "respect",
            **(variables or {}),
        }
        command = [python, str(runtime)]
        if layer:
            command.insert(0, str(opt / "otel-instrument"))

        with frames.listening(socket_name) if listening else nullcontext():
            process = subprocess.Popen(command, env=environment, cwd=task, stdout=output, stderr=output)
            try:
                yield Function(process, api, frames, folder)
            finally:
                process.kill()
                process.wait()
