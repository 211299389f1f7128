from __future__ import annotations

import re
import socket
from collections.abc import Callable

import pytest
from real_servers import SERVERS


@pytest.mark.parametrize("name", SERVERS)
def test_a_real_server_answers(server_port: Callable[[str], int], name: str) -> None:
    with socket.create_connection(("127.0.0.1", server_port(name)), timeout=60) as connection:
        connection.sendall(SERVERS[name].hello)
        assert re.match(SERVERS[name].answer, connection.recv(64), re.DOTALL)
