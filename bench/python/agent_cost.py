"""What the Python agent costs: CPU of cold start and warm invocation, with and without the layer, interleaved.

Each repetition starts fresh processes of the real runtime client (awslambdaric) for every function, once without and
once with the layer, in random order. What is printed are medians of the paired differences: single readings depend on
the heap's layout, so the environment is padded by a random length that both of a pair share (A-7).

With --collector, the layer runs twice, with Python's garbage collector held back while the function loads and without:
what a version has to gain for OTEL_XRAY_PYTHON_GC_FREEZE=auto to hold it back there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from runtime_api import BOOTSTRAP, RuntimeApi

WARM_FROM = 20
INVOCATIONS = 120
FUNCTIONS = {
    "no-op": "def handler(event, context):\n    return None\n",
    "boto3": (
        "import boto3\n"
        "client = boto3.client('dynamodb', region_name='us-east-1')\n"
        "def handler(event, context):\n    return None\n"
    ),
    "requests": "import requests\ndef handler(event, context):\n    return None\n",
}


def drain(name: str) -> socket.socket:
    """Stands in for the extension: reads everything, understands nothing."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0" + name)
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            while connection.recv(1 << 16):
                pass

    threading.Thread(target=serve, daemon=True).start()
    return listener


def cpu_ms(pid: int) -> float:
    """CPU of all threads of the process so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) / 1024


BARE = "no layer"
VARIANTS: dict[str, dict[str, str]] = {"layer": {}}
OF_THE_COLLECTOR = {
    "collector as it is": {"OTEL_XRAY_PYTHON_GC_FREEZE": "false"},
    "collector held back": {"OTEL_XRAY_PYTHON_GC_FREEZE": "true"},
}


def measure(
    python: str, layer: Path, task: Path, *, setting: dict[str, str] | None, padding: str, name: str
) -> dict[str, float]:
    api = RuntimeApi()
    environment = {
        "PATH": os.defpath,
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "LAMBDA_TASK_ROOT": str(task),
        "_HANDLER": "app.handler",
        "BENCH_LAYER": str(layer),
        "BENCH_PADDING": padding,
        "OTEL_XRAY_AGENT_SOCKET": name,
        **(setting or {}),
    }
    command = [python, str(task / "runtime.py")]
    if setting is not None:
        command.insert(0, str(layer / "otel-instrument"))
    process = subprocess.Popen(command, env=environment)
    try:
        api.asked.get(timeout=30)
        time.sleep(0.01)
        readings = {"init_cpu_ms": cpu_ms(process.pid), "rss_mb": rss_mb(process.pid)}
        warm = 0.0
        for number in range(INVOCATIONS):
            if number == WARM_FROM:
                warm = cpu_ms(process.pid)
            api.events.put(f"request-{number}")
            api.asked.get(timeout=10)
        readings["warm_cpu_ms"] = (cpu_ms(process.pid) - warm) / (INVOCATIONS - WARM_FROM)
        return readings
    finally:
        process.kill()
        process.wait()
        api.shutdown()
        api.server_close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="an interpreter with awslambdaric, boto3 and requests")
    parser.add_argument("--layer", required=True, type=Path, help="the unpacked layer")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--collector", action="store_true", help="measure what holding the collector back gains")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    variants: dict[str, dict[str, str] | None] = {
        BARE: None,
        **(OF_THE_COLLECTOR if arguments.collector else VARIANTS),
    }
    ask = [arguments.python, "-c", "import platform; print(platform.python_version())"]
    version = subprocess.run(ask, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tasks = {}
        for function, source in FUNCTIONS.items():
            tasks[function] = Path(folder) / function
            tasks[function].mkdir()
            (tasks[function] / "app.py").write_text(source)
            (tasks[function] / "runtime.py").write_text(BOOTSTRAP)
        socket_name = f"otel-xray-bench-{os.getpid()}"
        listener = drain(socket_name)
        readings: dict[tuple[str, str], list[dict[str, float]]] = {}
        for run in range(arguments.runs + 1):
            padding = "x" * random.randrange(8192)
            order = [(function, variant) for function in FUNCTIONS for variant in variants]
            random.shuffle(order)
            for function, variant in order:
                reading = measure(
                    arguments.python,
                    arguments.layer,
                    tasks[function],
                    setting=variants[variant],
                    padding=padding,
                    name=socket_name,
                )
                if run:  # The first fills the page cache and the functions' own compiled files.
                    readings.setdefault((function, variant), []).append(reading)
        listener.close()
    for function, variant in ((function, variant) for function in FUNCTIONS for variant in variants if variant != BARE):
        pairs = list(zip(readings[function, BARE], readings[function, variant]))
        row: dict[str, object] = {
            "function": f"{function}, {variant}" if arguments.collector else function,
            "runs": arguments.runs,
            "python": version,
        }
        for key in ("init_cpu_ms", "warm_cpu_ms", "rss_mb"):
            row[f"base_{key}"] = statistics.median(before[key] for before, _ in pairs)
            row[f"extra_{key}"] = statistics.median(after[key] - before[key] for before, after in pairs)
        rows.append(row)
    print(f"{'':30} {'init CPU ms':>18} {'warm CPU ms':>18} {'RSS MB':>18}")
    for row in rows:
        cells = [
            f"{row[f'base_{key}']:8.2f} {row[f'extra_{key}']:+9.3f}" for key in ("init_cpu_ms", "warm_cpu_ms", "rss_mb")
        ]
        print(f"{row['function']:30} " + " ".join(cells))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
