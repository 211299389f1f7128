"""Writes inputs/sdk-python and inputs/sdk-node: what real OpenTelemetry instrumentations record.

    write_sdk.py PYTHON NODE_MODULES

names a Python that has requirements.txt installed, and the folder that package.json is installed into.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import otlp
from sdk import aws, databases
from sdk.settle import settle

HERE = Path(__file__).resolve().parent
# The instrumentations' settings: today's default, and both conventions side by side.
CONVENTIONS = {"": None, "-dup": "http/dup,database/dup"}
PORTS = {"aws": 4566, "redis": 6379, "postgres": 5432, "mysql": 3306, "express": 3000, "refused": 9999}


def start_servers() -> dict[str, int]:
    servers = {
        "aws": aws.server(),
        "redis": databases.server(databases.Redis),
        "postgres": databases.server(databases.Postgres),
    }
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    taken = {name: server.server_address[1] for name, server in servers.items()}
    for name in ("mysql", "express", "refused"):
        taken[name] = free_port()
    return taken


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def record(
    folder: str, command: Sequence[str], paths: dict[str, str], taken: dict[str, int], variables: dict[str, str]
) -> None:
    requests: dict[str, otlp.Json] = {}
    ports = {taken[name]: PORTS[name] for name in PORTS}
    for suffix, convention in CONVENTIONS.items():
        environment = {**os.environ, **variables, "ORACLE_PORTS": json.dumps(taken)}
        environment.pop("OTEL_SEMCONV_STABILITY_OPT_IN", None)
        if convention is not None:
            environment["OTEL_SEMCONV_STABILITY_OPT_IN"] = convention
        output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=300).stdout
        for line in output.decode().splitlines():
            recorded = json.loads(line)
            name = recorded["scenario"] + suffix
            request = settle(f"{folder}/{name}", recorded["request"], ports, paths)
            # A library that knows only one convention says the same twice.
            if not suffix or unlike(request, requests[recorded["scenario"]]):
                requests[name] = request
    otlp.write(folder, requests)


def unlike(one: otlp.Json, other: otlp.Json) -> bool:
    return without_ids(one) != without_ids(other)


def without_ids(request: otlp.Json) -> str:
    request = json.loads(json.dumps(request))
    for resource in request["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for field in ("traceId", "spanId", "parentSpanId"):
                    span.pop(field, None)
    return json.dumps(request)


def main() -> None:
    python, node = sys.argv[1], str(Path(sys.argv[2]).resolve())
    taken = start_servers()
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'), sysconfig.get_path('stdlib'))"],
        stdout=subprocess.PIPE,
        check=True,
    )
    packages, library = site.stdout.decode().split()
    paths = {packages: "/opt/python", library: "/var/lang/lib/python", str(HERE / "sdk"): "/var/task"}
    record("sdk-python", [python, str(HERE / "sdk" / "python_app.py")], paths, taken, {})
    paths = {node: "/var/task/node_modules", str(HERE / "sdk"): "/var/task"}
    command = ["node", str(HERE / "sdk" / "node_app.cjs")]
    record("sdk-node", command, paths, taken, {"NODE_PATH": node})


if __name__ == "__main__":
    main()
