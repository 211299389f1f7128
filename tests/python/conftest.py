from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import real_servers
import stage
from servers import BOUND_S, Handler, serving

Start = Callable[..., AbstractContextManager[stage.Function]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts functions that share one folder, so that their paths are the same with and without the layer."""

    def begin(sources: Mapping[str, str] | str, **options: Any) -> AbstractContextManager[stage.Function]:
        return stage.function(tmp_path, sources, **options)

    return begin


@pytest.fixture(scope="session")
def server_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], int]]:
    """The port of a real server, by its name in ``real_servers``. It starts with the first test that asks for it."""
    ports: dict[str, int] = {}
    with ExitStack() as running:

        def port(name: str) -> int:
            if name not in ports:
                ports[name] = running.enter_context(real_servers.running(name, tmp_path_factory.mktemp(name)))
            return ports[name]

        yield port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Connections are taken there, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Website:
    """Answers 200 to everything, 404 below /missing, and keeps the requests' heads."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str, dict[str, str]]] = []


@pytest.fixture
def website() -> Iterator[Website]:
    site = Website()

    class Pages(Handler):
        def reply(self: BaseHTTPRequestHandler) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            # A whole URL as well, as every server has to: aiobotocore on httpx sends that.
            path = self.path if self.path.startswith("/") else "/" + self.path.split("/", 3)[3]
            site.requests.append((self.command, path, {k.lower(): v for k, v in self.headers.items()}))
            if path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/here")
            else:
                self.send_response(404 if path.startswith("/missing") else 200)
            self.send_header("x-amzn-requestid", "REQUEST-ID")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"{}")

        do_GET = do_POST = do_PUT = do_HEAD = reply

    with serving(Pages) as address:
        site.url = f"http://{address}"
        yield site


class Daemon:
    """An X-Ray daemon's UDP port."""

    def __init__(self) -> None:
        self.documents: queue.Queue[dict[str, Any]] = queue.Queue()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"

    def variables(self, **more: str) -> dict[str, str]:
        """As Lambda sets them, with the platform's daemon; and where the extension would listen."""
        return {
            "OTEL_XRAY_DAEMON": self.address,
            "AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129:2000",
            "_AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129",
            "_AWS_XRAY_DAEMON_PORT": "2000",
            **more,
        }

    def receive(self) -> None:
        while datagram := self.socket.recv(65_536):
            header, _, body = datagram.partition(b"\n")
            assert json.loads(header) == {"format": "json", "version": 1}
            self.documents.put(json.loads(body))

    def take(self, count: int) -> dict[str, dict[str, Any]]:
        """That many documents by their names, and that there are no more so far."""
        taken = [self.documents.get(timeout=BOUND_S) for _ in range(count)]
        assert self.documents.empty()
        assert len({document["name"] for document in taken}) == count
        return {document["name"]: document for document in taken}


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    daemon = Daemon()
    reader = threading.Thread(target=daemon.receive, daemon=True)
    reader.start()
    yield daemon
    daemon.socket.sendto(b"", daemon.socket.getsockname())
    reader.join(BOUND_S)
    daemon.socket.close()


class Stalling:
    """Sends the head and half of the body; the rest when it is told to, never at /broken, in chunks below /chunks."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.url = ""


@pytest.fixture
def stalling() -> Iterator[Stalling]:
    at = Stalling()

    class Pages(Handler):
        def do_GET(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)
            is_chunked = self.path.startswith("/chunks")
            if is_chunked:
                self.protocol_version = "HTTP/1.1"
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", "8")
            self.end_headers()
            self.wfile.write(b"4\r\nhalf\r\n" if is_chunked else b"half")
            self.wfile.flush()
            if self.path == "/broken":
                self.close_connection = True
                return
            at.go_on.wait(BOUND_S)
            self.wfile.write(b"4\r\nhalf\r\n0\r\n\r\n" if is_chunked else b"half")

    with serving(Pages) as address:
        at.url = f"http://{address}"
        yield at
        at.go_on.set()


def wait_until(holds: Callable[[], bool]) -> None:
    event = threading.Event()
    for _ in range(int(BOUND_S / 0.005)):
        if holds():
            return
        event.wait(0.005)
    raise AssertionError("it did not come to hold")
