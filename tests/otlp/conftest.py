"""The extension of the built layer with its OTLP receivers on free ports."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import layer_zip
import lone_extension
import pytest


@dataclass
class Receivers:
    extension: lone_extension.Running
    http: str
    grpc: str


Start = Callable[..., AbstractContextManager[Receivers]]


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="session")
def receivers(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts the extension with these variables; it listens when this returns."""
    opt: Path = layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer"))

    @contextmanager
    def start(**variables: str) -> Iterator[Receivers]:
        http, grpc = free_address(), free_address()
        listening = {"OTEL_XRAY_OTLP_HTTP": http, "OTEL_XRAY_OTLP_GRPC": grpc, "OTEL_XRAY_LOG_LEVEL": "info"}
        with lone_extension.extension(opt, **{**listening, **variables}) as running:
            running.next()
            yield Receivers(running, http, grpc)

    return start
