"""The Runtime API for a function process that is measured, and what starts the runtime client in it."""

from __future__ import annotations

import threading
import time
from http.server import ThreadingHTTPServer
from queue import Queue

from http_answers import Answers

BOOTSTRAP = """
import os, sys
sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
sys.path.append(os.environ["BENCH_LAYER"] + "/python")
from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_client import LambdaRuntimeClient
bootstrap.run(os.environ["_HANDLER"], LambdaRuntimeClient(os.environ["AWS_LAMBDA_RUNTIME_API"], False))
"""
HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


class RuntimeApi(ThreadingHTTPServer):
    """The Runtime API: hands out events, tells when the runtime asks for one, and keeps the last response."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Queue[None] = Queue()
        self.events: Queue[str] = Queue()
        self.response = b""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class _Handler(Answers):
    server: RuntimeApi

    def do_GET(self) -> None:
        self.server.asked.put(None)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": self.server.events.get(),
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 10_000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:bench",
            "Lambda-Runtime-Trace-Id": HEADER,
            "Content-Type": "application/json",
        }
        self.answer(200, b"{}", headers)

    def do_POST(self) -> None:
        self.server.response = self.body()
        self.answer(202, b"", {})
