from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from real_servers import SERVERS, running
from servers import BOUND_S


@pytest.mark.parametrize("name", SERVERS)
def test_a_real_server_answers(server_port: Callable[[str], int], name: str) -> None:
    with socket.create_connection(("127.0.0.1", server_port(name)), timeout=60) as connection:
        connection.sendall(SERVERS[name].hello)
        assert re.match(SERVERS[name].answer, connection.recv(64), re.DOTALL)


@pytest.mark.parametrize("name", SERVERS)
def test_a_real_server_leaves_no_process_behind(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    with running(name, folder):
        assert _working_in(folder)
    deadline = time.monotonic() + BOUND_S
    while _working_in(folder):
        assert time.monotonic() < deadline, _working_in(folder)
        time.sleep(0.02)


def _working_in(folder: Path) -> list[str]:
    """The commands of the processes whose folder that is, or one below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = (process / "cwd").readlink()
            if folder in (place, *place.parents):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it is over, or none of the tests' own
            continue
    return found
