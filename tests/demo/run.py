"""The demo: a real function with nothing but the layer and AWS_LAMBDA_EXEC_WRAPPER, and its traces printed.

Needs the layer zip, otel-xray-local and the interpreters that `make demo` builds and installs first. Exits 1 when what
was printed is not two traces with all spans sent.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "lab"), str(TESTS.parent / "layer-build")]

import layer_zip  # noqa: E402
import local_lambda  # noqa: E402
import stand_ins  # noqa: E402


def main() -> int:
    events = [local_lambda.EVENT, local_lambda.EVENT_ERROR]
    with stand_ins.moto() as moto_url, stand_ins.sample_world(moto_url) as variables:
        command = local_lambda.command(layer_zip.zip_for(layer_zip.HOST_ARCH), variables, events)
        print("A Python function that uses S3, SQS and HTTP, traced by the layer alone:\n")
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
