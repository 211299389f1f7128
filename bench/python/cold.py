"""What a layer costs a Python function: a cold start and warm invocations, ours beside ADOT's and the upstream one.

Every run is a fresh process under the real runtime client; variants take turns, in another order in each round, and all
of a round share a padding of the environment of random length: single readings depend on the heap's layout (A-7).
Cold is CPU from the start of the wrapper's first program until the runtime client asks for the second event.
Before any is measured, each variant has to record: the handler, and the call where there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector import Collector, Span
from function_process import FunctionProcess
from layers import Layer, lay, versions
from runtime_api import BOOTSTRAP

WARM_UP = 10
WARM = 50
FORMS = {
    "empty": "import sys\ndef handler(event, context):\n    return len(sys.modules)\n",
    "boto3": """
import os, sys
import boto3
s3 = boto3.client("s3", endpoint_url=os.environ["BENCH_URL"])
def handler(event, context):
    s3.get_object(Bucket="b", Key="k")["Body"].read()
    return len(sys.modules)
""",
    "requests": """
import os, sys
import requests
def handler(event, context):
    requests.get(os.environ["BENCH_URL"] + "/price")
    return len(sys.modules)
""",
}
MEASURES = ("cold_cpu_ms", "init_wall_ms", "warm_cpu_ms", "rss_mb", "read_kb", "modules")


class Bench:
    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self._folder = folder
        self._agent_socket = f"otel-xray-bench-{os.getpid()}"
        self._collector = Collector(self._agent_socket)
        self._python = str(arguments.runtime / "python3")
        self.layers = lay(
            folder, arguments.runtime, arguments.upstream, arguments.adot, arguments.layer, self._collector.url
        )
        for form, source in FORMS.items():
            (folder / form).mkdir()
            (folder / form / "app.py").write_text(source)
            (folder / form / "runtime.py").write_text(BOOTSTRAP)

    @contextmanager
    def _function(self, form: str, variant: str, padding: str = "") -> Iterator[FunctionProcess]:
        layer: Layer = self.layers[variant]
        task = self._folder / form
        environment = {
            "BENCH_LAYER": str(layer.folder),
            "BENCH_PADDING": padding,
            "BENCH_URL": self._collector.url,
            "AWS_XRAY_DAEMON_ADDRESS": self._collector.daemon,
            "OTEL_XRAY_AGENT_SOCKET": self._agent_socket,
            **layer.environment,
        }
        process = FunctionProcess([*layer.command, self._python, str(task / "runtime.py")], task, environment)
        try:
            yield process
        finally:
            process.stop()

    def recorded(self, form: str, variant: str) -> list[str]:
        """Fails unless the variant records the handler, and the call where there is one. Gives what it recorded."""
        self._collector.spans = []
        self._collector.keep = True
        wanted = {Span.SPAN_KIND_SERVER} | ({Span.SPAN_KIND_CLIENT} if form != "empty" else set())
        with self._function(form, variant) as process:
            process.invoke()
            process.invoke()
            until = time.monotonic() + 5
            while not wanted <= {span.kind for span in self._collector.spans}:
                if time.monotonic() > until:
                    names = [span.name for span in self._collector.spans]
                    raise RuntimeError(f"{variant}, {form}: it does not record the handler and its call, only {names}")
                time.sleep(0.02)
        self._collector.keep = False
        return sorted({span.name for span in self._collector.spans if span.kind in wanted})

    def measure(self, form: str, variant: str, padding: str) -> dict[str, float]:
        with self._function(form, variant, padding) as process:
            modules = int(process.invoke())
            found = {
                "cold_cpu_ms": process.cpu_ms,
                "init_wall_ms": process.init_wall_ms,
                "rss_mb": process.rss_mb,
                "read_kb": process.read_kb,
                "modules": float(modules),
            }
            for _ in range(WARM_UP):
                process.invoke()
            before = process.cpu_ms
            for _ in range(WARM):
                process.invoke()
            return {**found, "warm_cpu_ms": (process.cpu_ms - before) / WARM}


def every_run(bench: Bench, runs: int) -> dict[str, dict[str, list[dict[str, float]]]]:
    variants = list(bench.layers)
    found: dict[str, dict[str, list[dict[str, float]]]] = {form: {one: [] for one in variants} for form in FORMS}
    for number in range(runs):
        padding = "x" * random.randrange(8192)
        turn = number % len(variants)
        for form in FORMS:
            for variant in variants[turn:] + variants[:turn]:
                found[form][variant].append(bench.measure(form, variant, padding))
        print(f"\rround {number + 1} of {runs}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def figures(runs: list[dict[str, float]], bare: list[dict[str, float]]) -> dict[str, float]:
    """Minimum and median of each measure, and what they are above a function without a layer."""
    row = {}
    for key in MEASURES:
        for name, take in (("min", min), ("median", statistics.median)):
            value = take(run[key] for run in runs)
            row[f"{key}_{name}"] = round(value, 3)
            row[f"added_{key}_{name}"] = round(value - take(run[key] for run in bare), 3)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for tool in ("runtime", "upstream", "adot"):
        parser.add_argument(
            f"--{tool}", required=True, type=Path, help=f"what layer-build/tools.sh bench-{tool} prints"
        )
    parser.add_argument("--layer", required=True, type=Path, help="the unpacked layer")
    parser.add_argument("--version", required=True, help="the layer's version")
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        bench = Bench(folder, arguments)
        seen = {form: {one: bench.recorded(form, one) for one in bench.layers if one != "none"} for form in FORMS}
        found = every_run(bench, arguments.runs)
    finally:
        shutil.rmtree(folder)
    python = subprocess.run([arguments.runtime / "python3", "--version"], check=True, capture_output=True, text=True)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    measured = {"otel-xray": arguments.version, **versions(arguments.upstream, arguments.adot)}
    results = {"python": python.stdout.split()[1], "runs": arguments.runs, "machine": machine, "versions": measured}
    print(
        f"Python {results['python']}, n = {arguments.runs}: minima and what is added to none; wall and memory: medians"
    )
    forms: dict[str, dict[str, object]] = {form: {} for form in FORMS}
    for form in FORMS:
        print(f"\n{form}")
        for variant, runs in found[form].items():
            row = figures(runs, found[form]["none"])
            forms[form][variant] = {**row, "records": seen[form].get(variant, [])}
            print(
                f"  {variant:16} cold {row['cold_cpu_ms_min']:7.1f} {row['added_cold_cpu_ms_min']:+8.1f} ms CPU, "
                f"init {row['init_wall_ms_median']:7.1f} ms, warm {row['added_warm_cpu_ms_median']:+6.2f} ms, "
                f"{row['added_rss_mb_median']:+6.1f} MB, {row['added_read_kb_median']:+8.0f} KB read, "
                f"{row['added_modules_median']:+5.0f} modules"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps({**results, "forms": forms}, indent=1) + "\n")


if __name__ == "__main__":
    main()
