from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import stage
from servers import Handler, serving

Start = Callable[..., AbstractContextManager[stage.Function]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts functions that share one folder, so that their paths are the same with and without the layer."""

    def begin(sources: Mapping[str, str] | str, **options: Any) -> AbstractContextManager[stage.Function]:
        return stage.function(tmp_path, sources, **options)

    return begin


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
            site.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/here")
            else:
                self.send_response(404 if self.path.startswith("/missing") else 200)
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
