"""The demo: a real function with nothing but the layer and AWS_LAMBDA_EXEC_WRAPPER, and its traces printed.

RUNTIME is python, nodejs or nodejs-esm. Needs the layer zip, otel-xray-local and the packages that `make demo`
builds and installs first. Node.js is this machine's, under otel-xray-local's stand-in for the runtime client. Exits
1 when what was printed is not two traces with all spans sent.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "lab"), str(TESTS.parent / "layer-build")]

import layer_zip  # noqa: E402
import local_lambda  # noqa: E402
import stand_ins  # noqa: E402
from installed import tool  # noqa: E402

FUNCTIONS = {
    "python": "A Python function",
    "nodejs": "A Node.js function",
    "nodejs-esm": "A Node.js function that is an ES module",
}


def main() -> int:
    runtime = os.environ.get("RUNTIME") or "python"
    if runtime not in FUNCTIONS:
        print(f"demo: RUNTIME is {runtime!r}; it can be {', '.join(FUNCTIONS)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        return run(runtime, Path(scratch))


def run(runtime: str, scratch: Path) -> int:
    events = [local_lambda.EVENT, local_lambda.EVENT_ERROR]
    with stand_ins.moto() as moto_url, stand_ins.sample_world(moto_url) as variables:
        layer = layer_zip.zip_for(layer_zip.HOST_ARCH)
        if runtime == "python":
            command = local_lambda.command(layer, variables, events)
        else:
            function = TESTS / "functions" / f"{runtime}-demo"
            modules = tool("node-demo") / "node_modules"
            command = local_lambda.nodejs_command(layer, variables, events, function, scratch, modules)
        print(f"{FUNCTIONS[runtime]} that uses S3, SQS and HTTP, traced by the layer alone:\n")
        print(" \\\n    ".join([" ".join(command[:2]), *map(" ".join, zip(command[2::2], command[3::2]))]), end="\n\n")
        printed = ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
                printed += line
        messages = stand_ins.received_messages(moto_url, variables["SHIPMENTS_QUEUE_URL"])
    print(f"\nThe queue received {len(messages)} message: {', '.join(messages)}")
    return report(complaints(printed, process.returncode, messages))


def complaints(printed: str, exit_code: int, messages: list[str]) -> list[str]:
    """What is not as it should be. The second event makes the function raise, which the exit code tells."""
    found = []
    if exit_code != 1:
        found.append(f"otel-xray-local exited with {exit_code}; 1 says that an invocation failed, as the second has to")
    if (traces := len(re.findall(r"^Trace 1-", printed, re.MULTILINE))) != 2:
        found.append(f"{traces} traces were printed instead of 2")
    if (calls := printed.count("─ S3  GetObject")) != 2:
        found.append(f"{calls} calls of S3 were printed; each event makes one")
    account = re.search(r"^spans: (\d+) received = (\d+) sent ", printed, re.MULTILINE)
    if account is None or int(account[1]) == 0 or account[1] != account[2]:
        found.append("not every span was sent, or none was received")
    if len(messages) != 1:
        found.append(f"{len(messages)} messages were sent; the first event sends one, the second none")
    return found


def report(found: list[str]) -> int:
    for complaint in found:
        print(f"demo: {complaint}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
