"""Runs inside private mount and network namespaces: /opt, /var/task and every port exist only here.

Reads a JSON object from standard input (see emulator.Run) and prints one: the answers, what X-Ray held after each of
them, the emulator's log and how it ended.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import local_lambda
import stand_ins
from servers import BOUND_S

INVOCATIONS = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"

# What /var/runtime/bootstrap of a managed runtime does (L-11.2).
BOOTSTRAP = """#!/bin/sh
export AWS_EXECUTION_ENV=AWS_Lambda_python3.13
set -- {python} -m awslambdaric "$_HANDLER"
[ -n "$AWS_LAMBDA_EXEC_WRAPPER" ] || exec "$@"
[ -f "$AWS_LAMBDA_EXEC_WRAPPER" ] || {{ echo "$AWS_LAMBDA_EXEC_WRAPPER: does not exist"; exit 127; }}
[ -x "$AWS_LAMBDA_EXEC_WRAPPER" ] || {{ echo "$AWS_LAMBDA_EXEC_WRAPPER: is not an executable"; exit 126; }}
exec "$AWS_LAMBDA_EXEC_WRAPPER" "$@"
"""


def main() -> None:
    run = json.load(sys.stdin)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    hide("/opt", Path(run["layer"]) if run["layer"] else None)
    hide("/var", None)
    shutil.copytree(run["function"], "/var/task")
    if run["managed"]:
        for interpreter in {Path(run["python"]), Path(run["python"]).resolve()}:
            open_up(interpreter)
    runtime = Path("/var/runtime")
    runtime.mkdir()
    (runtime / "bootstrap").write_text(BOOTSTRAP.format(python=run["python"]))
    (runtime / "bootstrap").chmod(0o755)
    with xray() as xray_url, stand_ins.moto() as moto_url, stand_ins.sample_world(moto_url) as variables:
        print(json.dumps(emulate(run, xray_url, variables)))


def hide(folder: str, content: Path | None) -> None:
    """Covers a folder with a copy of the content. What was there stays reachable by its name: tools may live in it."""
    kept = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "--rbind", folder, kept], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "layer", folder], check=True)
    if content is not None:
        shutil.copytree(content, folder, dirs_exist_ok=True)
    for entry in kept.iterdir():
        if entry.is_dir() and not entry.is_symlink() and not (Path(folder) / entry.name).exists():
            (Path(folder) / entry.name).mkdir()
            subprocess.run(["mount", "--rbind", entry, Path(folder) / entry.name], check=True)
    subprocess.run(["umount", "--lazy", kept], check=True)
    kept.rmdir()


def open_up(file: Path) -> None:
    """Lets every user reach a file that lies below somebody's private folder, such as root's home."""
    for folder in reversed(file.parents):
        if not folder.stat().st_mode & 0o001:
            hide(str(folder), None)


@contextmanager
def xray() -> Iterator[str]:
    """The local X-Ray endpoint, which refuses what X-Ray would refuse."""
    command = [local_lambda.program(), "xray", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                if "AWS_ENDPOINT_URL_XRAY=" in line:
                    yield line.split("AWS_ENDPOINT_URL_XRAY=")[1].split()[0]
                    break
        finally:
            process.kill()


def emulate(run: dict[str, Any], xray_url: str, variables: dict[str, str]) -> dict[str, Any]:
    # What another environment of this machine has left in /tmp is not this one's.
    with tempfile.TemporaryDirectory() as temporary:
        return emulate_in(temporary, run, xray_url, variables)


def emulate_in(temporary: str, run: dict[str, Any], xray_url: str, variables: dict[str, str]) -> dict[str, Any]:
    environment = {
        "TMPDIR": temporary,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "AWS_REGION": stand_ins.REGION,
        "AWS_DEFAULT_REGION": stand_ins.REGION,
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_HANDLER": "app.handler",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(run["timeout_s"]),
        "_HANDLER": "app.handler",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "AWS_LAMBDA_EXEC_WRAPPER": run["wrapper"],
        "AWS_ENDPOINT_URL_XRAY": xray_url,
        "OTEL_XRAY_LOG_LEVEL": "info",
        **stand_ins.ANY.variables(),
        **variables,
        **({"AWS_LAMBDA_MAX_CONCURRENCY": str(run["managed"])} if run["managed"] else {}),
        **run["variables"],
    }
    with tempfile.TemporaryFile("w+") as log:
        emulator = subprocess.Popen(
            [run["emulator"], "--log-level", "debug"], cwd="/var/task", env=environment, stdout=log, stderr=log
        )
        try:
            if run["managed"]:
                answers = together(run, xray_url, emulator)
            else:
                answers = []
                for event in run["events"]:
                    status, body = invoke(event, run["trace_header"], emulator)
                    # At once: nothing that comes later may count for this invocation (T-2).
                    answers.append({"status": status, "body": body, "documents": documents(xray_url)})
            # A shutdown follows, as at the end of a real environment.
            emulator.send_signal(signal.SIGTERM)
            exit_code = emulator.wait(timeout=BOUND_S)
        except urllib.error.URLError as error:
            log.seek(0)
            raise RuntimeError(f"the emulator does not answer: {log.read()[-4000:]}") from error
        finally:
            emulator.kill()
            emulator.wait()
        log.seek(0)
        return {"answers": answers, "exit_code": exit_code, "documents": documents(xray_url), "log": log.read()}


def together(run: dict[str, Any], xray_url: str, emulator: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
    """Every event, as many at once as the instance takes. Between two events there is time for a flush."""
    with ThreadPoolExecutor(run["managed"]) as pool:
        answers = list(pool.map(lambda event: invoke_ready(event, run["trace_header"], emulator), run["events"]))
    until = time.monotonic() + BOUND_S
    while not (sent := documents(xray_url)) and time.monotonic() < until:
        time.sleep(0.1)
    return [{"status": status, "body": body, "documents": sent} for status, body in answers]


def invoke_ready(event: object, trace_header: str, emulator: subprocess.Popen[bytes]) -> tuple[int, str]:
    """One invocation, once a worker of the instance is there for it."""
    until = time.monotonic() + BOUND_S
    while "Runtime.Unavailable" in (answer := invoke(event, trace_header, emulator))[1] and time.monotonic() < until:
        time.sleep(0.05)
    return answer


def invoke(event: object, trace_header: str, emulator: subprocess.Popen[bytes]) -> tuple[int, str]:
    """One invocation, after which the emulator has waited for the extension. Waits for the emulator to listen."""
    headers = {"X-Amzn-Trace-Id": trace_header, "Content-Type": "application/json"}
    request = urllib.request.Request(INVOCATIONS, json.dumps(event).encode(), headers)
    until = time.monotonic() + BOUND_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=BOUND_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except urllib.error.URLError as error:
            starts = emulator.poll() is None and time.monotonic() < until
            if not starts or not isinstance(error.reason, ConnectionRefusedError):
                raise
            time.sleep(0.05)


def documents(url: str) -> list[dict[str, Any]]:
    """Every document that X-Ray holds."""
    xray_client = stand_ins.client("xray", url)
    now = time.time()
    found = []
    for page in xray_client.get_paginator("get_trace_summaries").paginate(StartTime=now - 600, EndTime=now + 600):
        for summary in page["TraceSummaries"]:
            [trace] = xray_client.batch_get_traces(TraceIds=[summary["Id"]])["Traces"]
            found += [json.loads(segment["Document"]) for segment in trace["Segments"]]
    return found


if __name__ == "__main__":
    os.umask(0o022)
    main()
