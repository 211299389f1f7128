"""Runs a function with a layer under otel-xray-local and the real Python runtime client."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from installed import ROOT, tool
from servers import BOUND_S

DEMO = ROOT / "tests" / "functions" / "python-demo"
EVENT, EVENT_ERROR = DEMO / "event.json", DEMO / "event-error.json"


def program() -> Path:
    """The built otel-xray-local: OTEL_XRAY_LOCAL, else cargo's debug build."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(os.environ.get("OTEL_XRAY_LOCAL", target / "debug" / "otel-xray-local"))
    assert path.is_file(), f"{path} is missing: run `cargo build -p otel-xray-local`"
    return path


def runtime_python() -> str:
    """The interpreter that has awslambdaric: OTEL_XRAY_TEST_PYTHON, else the checkout's."""
    if path := os.environ.get("OTEL_XRAY_TEST_PYTHON"):
        return path
    return str(tool("runtime") / "python3")


def command(layer: Path, variables: Mapping[str, str], events: Iterable[Path], function: Path = DEMO) -> list[str]:
    parts = [str(program()), "invoke", "--layer", str(layer), "--function", str(function), "--handler", "app.handler"]
    parts += ["--python", runtime_python()]
    for event in events:
        parts += ["--event", str(event)]
    # A busy machine is no fault: what a flush had to leave would be sent again.
    for name, value in {"OTEL_XRAY_FLUSH_TIMEOUT_MS": "60000", **variables}.items():
        parts += ["--env", f"{name}={value}"]
    return parts


def nodejs_command(
    layer: Path,
    variables: Mapping[str, str],
    events: Iterable[Path],
    function: Path,
    scratch: Path,
    modules: Path,
    node: Sequence[str] = (),
) -> list[str]:
    """Like `command`, for a Node.js function that finds these modules beside it; `scratch` is an empty folder.

    `node` are the options that name an interpreter and a runtime client; without them it is this machine's Node.js
    with the stand-in.
    """
    task = scratch / "task"
    shutil.copytree(function, task)
    (task / "node_modules").symlink_to(modules)
    python = command(layer, variables, events, task)
    place = python.index("--python")
    return [*python[:place], "--runtime", "nodejs", *node, *python[place + 2 :]]


def managed_node(version: int, client: Path) -> list[str]:
    """The options of a Node.js of this version under a real runtime client, as tests/prepare.sh has built it."""
    modules = tool("node-test") / "node_modules"
    cpu = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    return ["--node", str(modules / f"node{version}-{cpu}" / "bin" / "node"), "--runtime-script", str(client)]


def run(parts: list[str]) -> tuple[dict[str, Any], str]:
    """Runs the command and gives what --json prints, and what is said beside it."""
    done = subprocess.run([*parts, "--json"], capture_output=True, text=True, check=False, timeout=5 * BOUND_S)
    assert done.stdout.startswith("{"), f"exit {done.returncode}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout), done.stderr


def invoke_json(parts: list[str]) -> dict[str, Any]:
    return run(parts)[0]
