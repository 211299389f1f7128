"""T-12: the wrapper becomes the runtime, and changes nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stage import WRAPPER

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getpid(), dict(os.environ)]))"


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    folder = tmp_path / "opt"
    shutil.copytree(WRAPPER / "python", folder / "python")
    shutil.copy(WRAPPER / "otel-instrument", folder)
    return folder


def show(opt: Path, *arguments: str, **variables: str) -> tuple[list[str], int, dict[str, str], int]:
    command = [str(opt / "otel-instrument"), sys.executable, "-c", SHOW, *arguments]
    environment = {"PATH": "/nonexistent", "_HANDLER": "app.handler", **variables}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=30)
    assert err == b""
    argv, pid, seen = json.loads(out)
    return argv, pid, seen, process.pid


def test_arguments_are_byte_exact_and_the_process_is_the_same(opt: Path) -> None:
    arguments = ["a b", "", "'quoted\"", "*", "$HOME", "--flag=\n", "ä", "\\"]
    argv, pid, seen, started = show(opt, *arguments)
    assert argv == arguments
    assert pid == started
    assert seen["_HANDLER"] == "otel_xray.bootstrap.handler"
    assert seen["OTEL_XRAY_HANDLER"] == "app.handler"


def test_a_10_pythonpath_stays_unset_and_a_set_one_is_kept_in_front(opt: Path) -> None:
    assert "PYTHONPATH" not in show(opt)[2]
    assert show(opt, PYTHONPATH="/mine:/other")[2]["PYTHONPATH"] == f"/mine:/other:{opt}/python"


@pytest.mark.parametrize("variables", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_XRAY_ENABLED": "false"}, {"_HANDLER": ""}])
def test_turned_off_it_changes_nothing(opt: Path, variables: dict[str, str]) -> None:
    seen = show(opt, **variables)[2]
    assert seen["_HANDLER"] == variables.get("_HANDLER", "app.handler")
    assert "OTEL_XRAY_HANDLER" not in seen


def test_without_the_agent_it_changes_nothing(opt: Path) -> None:
    shutil.rmtree(opt / "python")
    assert show(opt)[2]["_HANDLER"] == "app.handler"


def test_an_unknown_runtime_starts_unchanged(opt: Path) -> None:
    node = opt / "node"
    node.write_text('#!/bin/sh\nprintf \'%s|\' "$_HANDLER" "$@"\n')
    node.chmod(0o755)
    command = [str(opt / "otel-instrument"), str(node), "a b", ""]
    done = subprocess.run(command, env={"_HANDLER": "index.handler"}, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("index.handler|a b||", "")


def test_a_runtime_client_started_by_hand_gets_the_handler_in_its_last_argument(opt: Path) -> None:
    client = opt / "awslambdaric.py"
    client.write_text("import json, os, sys\nprint(json.dumps([sys.argv[1:], os.environ['PYTHONPATH']]))\n")
    command = [str(opt / "otel-instrument"), sys.executable, "-m", "awslambdaric", "app.handler"]
    environment = {"_HANDLER": "app.handler", "PYTHONPATH": str(opt)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    argv, path = json.loads(done.stdout)
    assert argv == ["otel_xray.bootstrap.handler"]
    assert path == f"{opt}:{opt}/python"


def test_exit_status_and_signals_go_through(opt: Path) -> None:
    wrapper = str(opt / "otel-instrument")
    environment = {**os.environ, "_HANDLER": "app.handler"}
    assert (
        subprocess.run([wrapper, sys.executable, "-c", "raise SystemExit(7)"], env=environment, check=False).returncode
        == 7
    )
    sleeping = subprocess.Popen([wrapper, sys.executable, "-c", "input()"], env=environment, stdin=subprocess.PIPE)
    sleeping.send_signal(signal.SIGTERM)
    assert sleeping.wait(timeout=30) == -signal.SIGTERM


# Command lines that managed runtimes hand to the wrapper, by lambda.md section 11.
RUNTIMES = {
    "python3.13": ["/var/runtime/bootstrap.py"],
    "node": ["--expose-gc", "--max-http-header-size", "81920", "--max-old-space-size=460", "/var/runtime/index.mjs"],
    "java": [
        "-XX:MaxHeapSize=445645k",
        "-classpath",
        "/var/runtime/lib/a.jar:/var/runtime/lib/b.jar",
        "com.amazonaws.services.lambda.runtime.api.client.AWSLambda",
        "shop.Handler::handle",
    ],
    "ruby": ["/var/runtime/lib/runtime.rb"],
    "dotnet": [
        "exec",
        "--depsfile",
        "/var/task/Shop.deps.json",
        "--runtimeconfig",
        "/var/task/Shop.runtimeconfig.json",
        "/var/runtime/Amazon.Lambda.RuntimeSupport.dll",
        "Shop::Shop.Function::Handler",
    ],
}
OWN = {
    "NODE_OPTIONS": "--enable-source-maps",
    "JAVA_TOOL_OPTIONS": "-Xss1m",
    "RUBYOPT": "-W0",
    "DOTNET_STARTUP_HOOKS": "/a.dll",
}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_t_13_each_runtime_starts_as_it_would_and_the_customers_variables_win(opt: Path, runtime: str) -> None:
    nodejs = opt / "otel-xray" / "nodejs" / "main.js"
    nodejs.parent.mkdir(parents=True)
    nodejs.touch()
    interpreter = opt.parent / runtime
    interpreter.write_text(f"#!{sys.executable}\n{SHOW}\n")
    interpreter.chmod(0o755)
    command = [str(opt / "otel-instrument"), str(interpreter), *RUNTIMES[runtime]]
    environment = {"PATH": "/nonexistent", "_HANDLER": "app.handler", **OWN}
    ran = subprocess.run(command, env=environment, capture_output=True, timeout=30, check=True)
    argv, _, seen = json.loads(ran.stdout)
    agent = ["--require", str(nodejs)] if runtime == "node" else []
    assert argv == [*agent, *RUNTIMES[runtime]]
    assert {name: seen[name] for name in OWN} == OWN
    is_python = runtime.startswith("python")
    assert seen["_HANDLER"] == ("otel_xray.bootstrap.handler" if is_python else "app.handler")
    assert ran.stderr == b""
