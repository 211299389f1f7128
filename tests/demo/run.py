"""The demo: a real function with nothing but the layer and AWS_LAMBDA_EXEC_WRAPPER, and its traces printed.

Needs the layer zip, otel-xray-local and the interpreters that `make demo` builds and installs first.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "lab"), str(Path(__file__).resolve().parents[2] / "layer-build")]

import layer_zip  # noqa: E402
import local_lambda  # noqa: E402
import stand_ins  # noqa: E402


def main() -> int:
    arch = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
    layer = layer_zip.zip_for(arch)
    print("demo: starting stand-ins for S3 and SQS, and a web page", flush=True)
    with stand_ins.moto() as moto_url, stand_ins.sample_world(moto_url) as variables:
        events = [local_lambda.EVENT, local_lambda.EVENT_ERROR]
        command = local_lambda.command(layer, variables, events)
        shown = command[:4] + [part for part in command[4:] if "://" not in part]
        print(f"demo: {' '.join(shown)}\n", flush=True)
        exit_code = subprocess.run(command, check=False).returncode
        messages = stand_ins.received_messages(moto_url, variables["SHIPMENTS_QUEUE_URL"])
    print(f"\ndemo: the queue received {len(messages)} message(s): {', '.join(messages)}")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
