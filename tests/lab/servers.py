"""Stand-ins for what an extension talks to: the Extensions API and X-Ray's PutTraceSegments."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BOUND_S = 180
"""How long anything may take before the test gives up: only what hangs reaches it. Nothing is measured by it."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for an answer: in two, the second waits for an acknowledgement that comes 40 ms later.
    wbufsize = 65_536
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: object, **headers: str) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))


class ExtensionsApi:
    """Registers one extension and hands it the events that the test puts in (L-5.1)."""

    def __init__(self) -> None:
        self.registered: queue.Queue[dict[str, Any]] = queue.Queue()
        self.next_calls: queue.Queue[None] = queue.Queue()
        self.errors: list[str] = []
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()

    def send(self, event: dict[str, Any]) -> None:
        self._events.put(event)

    def handler(self) -> type[Handler]:
        api = self
        identifier = str(uuid.uuid4())

        class Extensions(Handler):
            def do_POST(self) -> None:
                body = self.body()
                if self.path == "/2020-01-01/extension/register":
                    api.registered.put({"name": self.headers["Lambda-Extension-Name"], **json.loads(body)})
                    about = {"functionName": "smoke", "functionVersion": "$LATEST", "handler": "app.handler"}
                    self.answer(200, about, Lambda_Extension_Identifier=identifier)
                else:
                    api.errors.append(f"{self.path} {body!r}")
                    self.answer(202, {"status": "OK"})

            def do_PUT(self) -> None:
                # The Telemetry API: accepted, and nothing ever comes, as under the emulator.
                self.body()
                self.answer(202, {"status": "OK"})

            def do_GET(self) -> None:
                if self.headers["Lambda-Extension-Identifier"] != identifier:
                    api.errors.append(f"{self.path} without the identifier")
                api.next_calls.put(None)
                # However long the test takes: a stand-in that gives up would make the extension complain of it.
                self.answer(200, api._events.get())

        return Extensions


class XRay:
    """Takes PutTraceSegments and keeps what came."""

    def __init__(self) -> None:
        self.requests: queue.Queue[tuple[str, list[dict[str, Any]]]] = queue.Queue()

    def handler(self) -> type[Handler]:
        xray = self

        class Endpoint(Handler):
            def do_POST(self) -> None:
                documents = json.loads(self.body())["TraceSegmentDocuments"]
                # Before the answer: the sender may be looked at as soon as it has that.
                xray.requests.put((self.headers["Authorization"], [json.loads(text) for text in documents]))
                self.answer(200, {"UnprocessedTraceSegments": []})

        return Endpoint


@contextmanager
def serving(handler: type[Handler]) -> Iterator[str]:
    """Serves on a free loopback port; gives host:port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Far:
    """A far end that fails in one way, and how often it was asked."""

    def __init__(self, how: int | str, **headers: str) -> None:
        self.how, self.headers, self.asked = how, headers, 0
        self._held: list[Any] = []

    def handler(self) -> type[Handler]:
        far = self

        class Failing(Handler):
            def do_POST(self) -> None:
                far.asked += 1
                self.body()
                if far.how == "hangs":
                    time.sleep(BOUND_S)
                if isinstance(far.how, int):
                    self.answer(far.how, {} if far.how == 200 else {"message": "told to"}, **far.headers)
                self.close_connection = True

        return Failing

    @contextmanager
    def serving(self) -> Iterator[str]:
        if self.how == "refuses":
            with socket.socket() as closed:
                closed.bind(("127.0.0.1", 0))
                yield "{}:{}".format(*closed.getsockname())
            return
        with serving(self.handler()) as address:
            yield address
