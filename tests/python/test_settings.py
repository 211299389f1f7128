"""What the launcher and the Python agent make of settings: what the extension makes of them (tests/settings.json)."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from _otel_xray_agent import settings
from _otel_xray_agent.record import trace
from servers import BOUND_S
from stage import HEADER, LAUNCHER, ROOT

TABLE: dict[str, list[dict[str, Any]]] = json.loads((ROOT / "tests" / "settings.json").read_text(encoding="utf-8"))


def cases(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", TABLE[kind], ids=repr)


def given(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}


@cases("agent_socket")
def test_the_agent_connects_to_where_the_extension_listens(case: dict[str, Any]) -> None:
    assert settings.agent_socket(case["value"] or "") == case["is"]


@cases("daemon")
def test_the_agent_points_the_xray_sdk_at_where_the_extension_listens(case: dict[str, Any]) -> None:
    address = settings.daemon(case["value"] or "")
    assert (address and f"{address[0]}:{address[1]}") == case["is"]


@cases("switch")
def test_the_agent_reads_a_switch_as_the_extension_does(case: dict[str, Any]) -> None:
    assert settings.is_on(case["value"] or "") == (None if case.get("complains") else case["is"])


@cases("gc_freeze")
def test_the_agent_reads_whether_the_collector_is_held_back(case: dict[str, Any]) -> None:
    assert settings.collector(case["value"] or "") == (case["is"], not case.get("complains"))


@cases("decides")
def test_the_agent_decides_where_the_extension_lets_it(case: dict[str, Any]) -> None:
    environ = given("OTEL_XRAY_SAMPLING", case["sampling"]) | given("OTEL_XRAY_TRACING_MODE", case["tracing_mode"])
    undecided = trace.TraceHeader(HEADER.replace("Sampled=1", "Sampled=0"))
    assert trace.Sampler(environ).is_ours(undecided) == case["is"]


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher, and runtimes that print two variables and whether they were left a connection."""
    folder = tmp_path_factory.mktemp("opt")
    shutil.copy(LAUNCHER, folder)
    (folder / "otel-xray" / "nodejs").mkdir(parents=True)
    (folder / "otel-xray" / "nodejs" / "main.js").touch()
    for name in ("node", "ruby"):
        program = folder / name
        program.write_text(
            '#!/bin/sh\nprintf \'%s|%s\' "$AWS_XRAY_DAEMON_ADDRESS" "${OTEL_XRAY_AGENT_FD:+connected}"\n'
        )
        program.chmod(0o755)
    return folder


def launch(opt: Path, runtime: str, variables: dict[str, str]) -> tuple[str, bool]:
    command = [str(opt / "otel-instrument"), str(opt / runtime)]
    done = subprocess.run(command, env=variables, capture_output=True, check=True, timeout=BOUND_S)
    assert done.stderr == b""
    address, connected = done.stdout.decode().split("|")
    return address, connected == "connected"


@contextmanager
def listening(name: str) -> Iterator[socket.socket]:
    """In the extension's place. An extension of somebody else's may have the name for a moment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        until = time.monotonic() + BOUND_S
        while True:
            try:
                listener.bind("\0" + name)
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                    raise
                time.sleep(0.05)
        listener.listen()
        listener.settimeout(BOUND_S)
        yield listener


@cases("agent_socket")
def test_the_launcher_connects_to_where_the_extension_listens(opt: Path, case: dict[str, Any]) -> None:
    with listening(case["is"]) as extension:
        assert launch(opt, "node", given("OTEL_XRAY_AGENT_SOCKET", case["value"]))[1]
        extension.accept()[0].close()


@pytest.mark.parametrize(
    ("name", "is_off", "case"),
    [("OTEL_XRAY_ENABLED", not case["is"], case) for case in TABLE["enabled"]]
    + [("OTEL_SDK_DISABLED", case["is"], case) for case in TABLE["sdk_disabled"]],
    ids=repr,
)
def test_the_launcher_is_off_where_the_extension_is(opt: Path, name: str, is_off: bool, case: dict[str, Any]) -> None:
    with listening("otel-xray-cases"):
        variables = {"OTEL_XRAY_AGENT_SOCKET": "otel-xray-cases", **given(name, case["value"])}
        assert launch(opt, "node", variables)[1] is not is_off


@cases("daemon")
def test_the_launcher_points_an_xray_sdk_at_where_the_extension_listens(opt: Path, case: dict[str, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        if case["is"]:
            host, port = case["is"].split(":")
            try:
                daemon.bind((host, int(port)))
            except OSError as error:  # somebody else listens there, which is as good
                assert error.errno == errno.EADDRINUSE
        assert launch(opt, "ruby", given("OTEL_XRAY_DAEMON", case["value"]))[0] == (case["is"] or "")
