"""What one recorded call costs the function: CPU of encoding a span, of a call, and of a like one past a hundred.

The least of many rounds is printed, in microseconds: whatever else runs on the machine only adds to it. A child process
stands in for the extension, so that nothing of reading is counted.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 200
CALLS = 100
ABOUT = {
    "db.system.name": "redis",
    "db.namespace": "0",
    "db.query.text": "GET user:1",
    "db.operation.name": "GET",
    "server.address": "cache.example.internal",
    "server.port": 6379,
}


def least_us(run: Callable[[], object], before: Callable[[], object], after: Callable[[], object]) -> float:
    least = float("inf")
    for _ in range(ROUNDS):
        before()
        began = time.thread_time_ns()
        for _ in range(CALLS):
            run()
        least = min(least, (time.thread_time_ns() - began) / CALLS / 1000)
        after()
    return least


def drain(name: str) -> int:
    """A process that reads everything and understands nothing."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0" + name)
    listener.listen()
    child = os.fork()
    if child == 0:
        connection, _ = listener.accept()
        while connection.recv(1 << 20):
            pass
        os._exit(0)
    listener.close()
    return child


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    agent = Path(__file__).resolve().parents[2] / "wrapper" / "python"
    parser.add_argument("--agent", type=Path, default=agent, help="the folder of the agent's package")
    sys.path.insert(0, str(parser.parse_args().agent))
    from _otel_xray_agent.libraries.calls import Call, Calls
    from _otel_xray_agent.record import Recorder, encoder, trace, wire

    class Client:
        def get(self, key: str) -> str:
            return key

    def describe(call: Call) -> str:
        call.span.attributes.update(ABOUT)
        return "GET"

    span = trace.Span("GET", trace.CLIENT, b"t" * 16, b"p" * 8, 0x101, time.time_ns())
    span.attributes = dict(ABOUT)
    nothing = time.thread_time_ns
    print(f"encoding a span        {least_us(lambda: encoder.encode(span), nothing, nothing):6.1f} us")

    name = f"otel-xray-bench-{os.getpid()}"
    child = drain(name)
    recorder = Recorder(wire.Wire(name, b"{}"), {})
    client = Client()
    Calls(recorder, "redis", "a Redis call").record(Client, "get", describe)

    def enter() -> None:
        recorder.enter("app.handler", "", "request", 0, {})

    def enter_and_call() -> None:
        enter()
        for _ in range(CALLS):
            client.get("a")

    def leave() -> None:
        recorder.leave("request", None)

    print(f"a call                 {least_us(lambda: client.get('a'), enter, leave):6.1f} us")
    print(f"a like one past {CALLS}    {least_us(lambda: client.get('a'), enter_and_call, leave):6.1f} us")
    os.kill(child, 9)
    os.waitpid(child, 0)


if __name__ == "__main__":
    main()
