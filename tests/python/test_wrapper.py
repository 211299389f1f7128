"""T-12: the wrapper becomes the runtime, and changes nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import BOUND_S
from stage import LAUNCHER, WRAPPER

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getpid(), dict(os.environ)]))"


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    folder = tmp_path / "opt"
    shutil.copytree(WRAPPER / "python", folder / "python")
    shutil.copy(LAUNCHER, folder)
    return folder


def show(opt: Path, *arguments: str, **variables: str) -> tuple[list[str], int, dict[str, str], int]:
    command = [str(opt / "otel-instrument"), sys.executable, "-c", SHOW, *arguments]
    environment = {"PATH": "/nonexistent", "_HANDLER": "app.handler", **variables}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=BOUND_S)
    assert err == b""
    argv, pid, seen = json.loads(out)
    return argv, pid, seen, process.pid


def test_arguments_are_byte_exact_and_the_process_is_the_same(opt: Path) -> None:
    arguments = ["a b", "", "'quoted\"", "*", "$HOME", "--flag=\n", "ä", "\\"]
    argv, pid, seen, started = show(opt, *arguments)
    assert argv == arguments
    assert pid == started
    assert seen["_HANDLER"] == "_otel_xray_agent.bootstrap.handler"
    assert seen["OTEL_XRAY_HANDLER"] == "app.handler"


def test_a_10_pythonpath_stays_unset_and_a_set_one_is_kept_in_front(opt: Path) -> None:
    assert "PYTHONPATH" not in show(opt)[2]
    seen = show(opt, PYTHONPATH="/mine:/other")[2]
    assert (seen["PYTHONPATH"], seen["OTEL_XRAY_PYTHONPATH"]) == (f"/mine:/other:{opt}/python", "=/mine:/other")


def test_l_2_3_a_pythonpath_set_to_nothing_counts_as_set(opt: Path) -> None:
    # Then the managed runtime adds no folder. An empty part beside ours would be the current folder.
    seen = show(opt, PYTHONPATH="")[2]
    assert (seen["PYTHONPATH"], seen["OTEL_XRAY_PYTHONPATH"]) == (f"{opt}/python", "=")


def test_a_pythonpath_that_has_the_agent_stays(opt: Path) -> None:
    path = f"/mine:{opt}/python:/other"
    seen = show(opt, PYTHONPATH=path, OTEL_XRAY_PYTHONPATH="stale")[2]
    assert seen["PYTHONPATH"] == path
    assert "OTEL_XRAY_PYTHONPATH" not in seen


@pytest.mark.parametrize("variables", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_XRAY_ENABLED": "false"}, {"_HANDLER": ""}])
def test_turned_off_it_changes_nothing(opt: Path, variables: dict[str, str]) -> None:
    seen = show(opt, **variables)[2]
    assert seen["_HANDLER"] == variables.get("_HANDLER", "app.handler")
    assert "OTEL_XRAY_HANDLER" not in seen


def test_without_the_agent_it_changes_nothing(opt: Path) -> None:
    shutil.rmtree(opt / "python")
    assert show(opt)[2]["_HANDLER"] == "app.handler"


def runtime(opt: Path, name: str, shown: str = "") -> str:
    """A program of that name, which prints a variable and its arguments, each with a bar behind it."""
    program = opt / name
    program.write_text(f'#!/bin/sh\nprintf \'%s|\' "${{{shown or "_HANDLER"}}}" "$@"\n')
    program.chmod(0o755)
    return str(program)


def run(opt: Path, *command: str, **variables: str) -> str:
    done = subprocess.run(
        [str(opt / "otel-instrument"), *command], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_an_unknown_runtime_starts_unchanged(opt: Path) -> None:
    assert run(opt, runtime(opt, "deno"), "a b", "", _HANDLER="index.handler") == "index.handler|a b||"


def test_a_41_node_gets_the_agent_in_its_arguments(opt: Path) -> None:
    node = runtime(opt, "node", "NODE_OPTIONS")
    assert run(opt, node, "--flag", "index.mjs") == "|--flag|index.mjs|"
    agent = opt / "otel-xray" / "nodejs" / "main.js"
    agent.parent.mkdir(parents=True)
    agent.touch()
    expected = f"--own|--require|{agent}|--flag|index.mjs|"
    assert run(opt, node, "--flag", "index.mjs", NODE_OPTIONS="--own") == expected


@pytest.fixture
def extension() -> Iterator[socket.socket]:
    """Listens in the extension's place."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"\0otel-xray-test-{os.getpid()}")
        listener.listen()
        listener.settimeout(BOUND_S)
        yield listener


def node_that_shows_its_files(opt: Path, name: str) -> list[str]:
    """A command that prints the variable, and the numbers and targets of the open sockets behind it."""
    agent = opt / "otel-xray" / "nodejs" / "main.js"
    agent.parent.mkdir(parents=True)
    agent.touch()
    program = opt / name
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os\n"
        "def is_socket(number):\n"
        "    try:\n"
        "        return os.readlink(f'/proc/self/fd/{number}').startswith('socket:')\n"
        "    except FileNotFoundError:\n"
        "        return False\n"
        "sockets = {number: os.get_blocking(number) for number in range(3, 64) if is_socket(number)}\n"
        "print(json.dumps([os.environ.get('OTEL_XRAY_AGENT_FD'), sockets]))\n"
    )
    program.chmod(0o755)
    return [str(opt / "otel-instrument"), str(program)]


@pytest.mark.parametrize(
    ("name", "variables", "is_connected"),
    [
        ("node", {}, True),
        ("node", {"AWS_LAMBDA_MAX_CONCURRENCY": ""}, True),
        ("node", {"AWS_LAMBDA_MAX_CONCURRENCY": "8"}, False),
        ("node", {"OTEL_XRAY_ENABLED": "off"}, False),
        ("ruby", {}, False),
    ],
)
def test_a_43_node_is_left_a_connection_that_does_not_block(
    opt: Path, extension: socket.socket, name: str, variables: dict[str, str], is_connected: bool
) -> None:
    command = node_that_shows_its_files(opt, name)
    given = {"OTEL_XRAY_AGENT_SOCKET": extension.getsockname()[1:].decode(), **variables}
    process = subprocess.Popen(command, env=given, stdout=subprocess.PIPE)
    variable, sockets = json.loads(process.communicate(timeout=BOUND_S)[0])
    extension.setblocking(is_connected)
    if is_connected:
        assert 3 <= int(variable) <= 15, "Node.js hides files of these numbers from the processes it starts"
        assert sockets == {variable: False}
        connection, _ = extension.accept()
        with connection:
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            assert int.from_bytes(peer[:4], sys.byteorder) == process.pid
            assert connection.recv(1) == b"", "nothing was said, and it ends with the process"
    else:
        assert (variable, sockets) == (None, {})
        with pytest.raises(BlockingIOError):
            extension.accept()


def test_a_43_where_nobody_listens_node_gets_no_number_not_even_the_users(opt: Path) -> None:
    command = node_that_shows_its_files(opt, "node")
    given = {"OTEL_XRAY_AGENT_SOCKET": f"otel-xray-nobody-{os.getpid()}", "OTEL_XRAY_AGENT_FD": "1"}
    for more in ({}, {"AWS_LAMBDA_MAX_CONCURRENCY": "8"}):
        done = subprocess.run(command, env=given | more, capture_output=True, check=True)
        assert json.loads(done.stdout) == [None, {}]


def test_a_connection_that_node_would_not_hide_is_not_left(opt: Path, extension: socket.socket) -> None:
    command = node_that_shows_its_files(opt, "node")
    given = {"OTEL_XRAY_AGENT_SOCKET": extension.getsockname()[1:].decode()}
    take = "import os, sys\nfor number in range(3, 16): os.dup2(0, number)\nos.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", take, *command], env=given, stdout=subprocess.PIPE, check=True)
    assert json.loads(done.stdout) == [None, {}]


def test_the_name_of_the_socket_makes_no_path(opt: Path) -> None:
    folder = Path(f"/tmp/.otel-xray-test-{os.getpid()}")
    folder.mkdir()
    try:
        (folder / "file").write_text("the user's")
        command = node_that_shows_its_files(opt, "node")
        given = {"OTEL_XRAY_AGENT_SOCKET": f"{folder.name[1:]}/file"}
        subprocess.run(command, env=given, stdout=subprocess.DEVNULL, check=True)
        assert [path.read_text() for path in folder.iterdir()] == ["the user's"]
    finally:
        shutil.rmtree(folder)


def test_a_program_without_a_path_is_searched(opt: Path) -> None:
    runtime(opt, "bun")
    assert run(opt, "bun", "x", PATH=f"/usr/bin:{opt}") == "|x|"


@pytest.mark.parametrize("count", [500, 600])
def test_a_long_command_line_is_whole(opt: Path, count: int) -> None:
    arguments = [str(index) for index in range(count)]
    argv, _, seen, _ = show(opt, *arguments)
    assert argv == arguments
    # It holds a changed command of 512 arguments.
    assert ("OTEL_XRAY_HANDLER" in seen) == (count == 500)


def test_a_path_that_is_too_long_changes_nothing(opt: Path) -> None:
    seen = show(opt, PYTHONPATH="/long" * 4000)[2]
    assert (seen["PYTHONPATH"], seen["_HANDLER"]) == ("/long" * 4000, "app.handler")


def test_l_11_2_a_program_that_cannot_start_is_named(opt: Path) -> None:
    (opt / "data").touch()
    for program, status in [("/nonexistent", 127), (str(opt / "data"), 126)]:
        done = subprocess.run([opt / "otel-instrument", program], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (status, f"{program}: cannot be started by otel-instrument\n")
    done = subprocess.run([opt / "otel-instrument"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("names no program to start")) == (126, 1)


LAMBDAS = {
    "AWS_XRAY_DAEMON_ADDRESS": "192.0.2.1:2000",
    "_AWS_XRAY_DAEMON_ADDRESS": "192.0.2.1",
    "_AWS_XRAY_DAEMON_PORT": "2000",
}


@pytest.mark.parametrize(
    ("variables", "seen"),
    [
        ({}, "127.0.0.1:PORT"),
        (LAMBDAS, "127.0.0.1:PORT"),
        ({"AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129:2000"}, "127.0.0.1:PORT"),
        ({"OTEL_XRAY_DAEMON": "localhost:PORT"}, "127.0.0.1:PORT"),
        ({"AWS_XRAY_DAEMON_ADDRESS": "192.0.2.7:2000"}, "192.0.2.7:2000"),
        ({"AWS_XRAY_DAEMON_ADDRESS": "tcp:127.0.0.1:2001 udp:127.0.0.1:2000"}, "tcp:127.0.0.1:2001 udp:127.0.0.1:2000"),
        ({"OTEL_XRAY_DAEMON": "off"}, ""),
        ({"OTEL_XRAY_DAEMON": "off", **LAMBDAS}, "192.0.2.1:2000"),
        ({"OTEL_XRAY_DAEMON": "127.0.0.2:PORT"}, ""),
        ({"OTEL_XRAY_DAEMON": "[::1]:PORT"}, ""),
        ({"OTEL_XRAY_ENABLED": "False"}, ""),
    ],
)
def test_env_2_an_xray_sdk_without_an_agent_is_pointed_at_who_listens(
    opt: Path, variables: dict[str, str], seen: str
) -> None:
    ruby = runtime(opt, "ruby", "AWS_XRAY_DAEMON_ADDRESS")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as extension:
        extension.bind(("127.0.0.1", 0))
        port = str(extension.getsockname()[1])
        given = {"OTEL_XRAY_DAEMON": f"127.0.0.1:{port}"}
        given |= {name: value.replace("PORT", port) for name, value in variables.items()}
        assert run(opt, ruby, "runtime.rb", **given) == f"{seen.replace('PORT', port)}|runtime.rb|"
    unheard = given.get("AWS_XRAY_DAEMON_ADDRESS", "")
    assert run(opt, ruby, "runtime.rb", **given) == f"{unheard}|runtime.rb|"


def test_a_runtime_client_started_by_hand_gets_the_handler_in_its_last_argument(opt: Path) -> None:
    client = opt / "awslambdaric.py"
    client.write_text("import json, os, sys\nprint(json.dumps([sys.argv[1:], os.environ['PYTHONPATH']]))\n")
    command = [str(opt / "otel-instrument"), sys.executable, "-m", "awslambdaric", "app.handler"]
    environment = {"_HANDLER": "app.handler", "PYTHONPATH": str(opt)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    argv, path = json.loads(done.stdout)
    assert argv == ["_otel_xray_agent.bootstrap.handler"]
    assert path == f"{opt}:{opt}/python"
    client.write_text(
        "import json, os\nprint(json.dumps([os.environ[f'{x}PYTHONPATH'] for x in ('', 'OTEL_XRAY_')]))\n"
    )
    del environment["PYTHONPATH"]
    done = subprocess.run(command, env=environment, cwd=opt, capture_output=True, text=True, check=True)
    # Nothing behind the sign: it was not set.
    assert json.loads(done.stdout) == [f"{opt}/python", ""]


def test_exit_status_and_signals_go_through(opt: Path) -> None:
    wrapper = str(opt / "otel-instrument")
    environment = {**os.environ, "_HANDLER": "app.handler"}
    assert (
        subprocess.run([wrapper, sys.executable, "-c", "raise SystemExit(7)"], env=environment, check=False).returncode
        == 7
    )
    sleeping = subprocess.Popen([wrapper, sys.executable, "-c", "input()"], env=environment, stdin=subprocess.PIPE)
    sleeping.send_signal(signal.SIGTERM)
    assert sleeping.wait(timeout=BOUND_S) == -signal.SIGTERM


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
    ran = subprocess.run(command, env=environment, capture_output=True, timeout=BOUND_S, check=True)
    argv, _, seen = json.loads(ran.stdout)
    agent = ["--require", str(nodejs)] if runtime == "node" else []
    assert argv == [*agent, *RUNTIMES[runtime]]
    assert {name: seen[name] for name in OWN} == OWN
    is_python = runtime.startswith("python")
    assert seen["_HANDLER"] == ("_otel_xray_agent.bootstrap.handler" if is_python else "app.handler")
    assert ran.stderr == b""
