"""One function process under the real runtime client, fed one event after another, and what the kernel says of it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from queue import Empty

from runtime_api import RuntimeApi

TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


class FunctionProcess:
    def __init__(self, command: list[str], task: Path, environment: dict[str, str]) -> None:
        self._api = RuntimeApi()
        self._count = 0
        self._log = (task / "log").open("w+")
        own = {
            "PATH": os.defpath,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_GROUP_NAME": "g",
            "AWS_LAMBDA_LOG_STREAM_NAME": "s",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "LAMBDA_TASK_ROOT": str(task),
            "_HANDLER": "app.handler",
        }
        started = time.monotonic()
        self._process = subprocess.Popen(
            command, cwd=task, env={**own, **environment}, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            self._wait()
        except RuntimeError:
            self.stop()
            raise
        self.init_wall_ms = (time.monotonic() - started) * 1000

    def _wait(self) -> None:
        """Waits until the runtime client asks for an event."""
        for _ in range(600):
            try:
                self._api.asked.get(timeout=0.1)
                return
            except Empty:
                if self._process.poll() is not None:
                    break
        self._log.seek(0)
        raise RuntimeError(f"it does not ask for an event; it ended with {self._process.poll()}: {self._log.read()}")

    def invoke(self) -> str:
        """One invocation: over when the runtime client asks for the next event. Gives what the function answered."""
        self._api.events.put(f"request-{self._count}")
        self._count += 1
        self._wait()
        return self._api.response.decode()

    @property
    def cpu_ms(self) -> float:
        """CPU of all threads so far, ended ones too, to the nanosecond; of children that ended, to the tick."""
        # How Linux names the clock of another process.
        own = time.clock_gettime_ns(~self._process.pid << 3 | 2) / 1e6
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return own + (int(stat[13]) + int(stat[14])) * TICK_MS

    def _field(self, file: str, name: str) -> int:
        lines = Path(f"/proc/{self._process.pid}/{file}").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])

    @property
    def rss_mb(self) -> float:
        return self._field("status", "VmRSS") / 1024

    @property
    def read_kb(self) -> float:
        """What the process has read so far, of files and sockets, in kB."""
        return self._field("io", "rchar") / 1024

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()
        self._api.shutdown()
        self._api.server_close()
