"""X-Ray's name is found by whichever family of addresses its name server knows."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import layer_zip
import pytest
from lone_extension import extension
from servers import BOUND_S, XRay, serving

NAME = "xray.example"
A, AAAA = 1, 28
SERVER_FAILURE = 2
TRIES = 200


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer"))


def answer(query: bytes, broken: int, is_silent: bool) -> bytes | None:
    """127.0.0.1 for A and nothing for AAAA, but for the type that is broken."""
    end = query.index(b"\0", 12) + 5
    (kind,) = struct.unpack("!H", query[end - 4 : end - 2])
    if kind == broken:
        head = struct.pack("!HHHHH", 0x8180 | SERVER_FAILURE, 1, 0, 0, 0)
        return None if is_silent else query[:2] + head + query[12:end]
    record = struct.pack("!HHHIH4s", 0xC00C, A, 1, 60, 4, bytes([127, 0, 0, 1])) if kind == A else b""
    return query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1 if record else 0, 0, 0) + query[12:end] + record


@contextmanager
def name_server(broken: int, is_silent: bool) -> Iterator[str]:
    """Listens on port 53 of a loopback address that nobody else has."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(TRIES):
        address = f"127.{os.urandom(1)[0]}.{os.urandom(1)[0]}.53"
        try:
            server.bind((address, 53))
            break
        except PermissionError:
            pytest.skip("only root may listen on port 53")
        except OSError:
            continue

    def serve() -> None:
        while True:
            try:
                query, peer = server.recvfrom(512)
            except OSError:
                return
            told = answer(query, broken, is_silent)
            if told:
                server.sendto(told, peer)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield address
    finally:
        server.close()


def in_its_own_world(resolv_conf: Path) -> list[str]:
    """What starts a program with another /etc/resolv.conf."""
    unshare = shutil.which("unshare")
    before = [unshare or "unshare", "-m", "sh", "-c", f'mount --bind "{resolv_conf}" /etc/resolv.conf && exec "$0"']
    if not unshare or subprocess.run([*before, "true"], capture_output=True).returncode != 0:
        pytest.skip("no mount namespace can be made here: that takes root and unshare")
    return before


@pytest.mark.parametrize("is_silent", [False, True])
def test_an_address_of_one_family_is_enough(opt: Path, tmp_path: Path, is_silent: bool) -> None:
    xray = XRay()
    with name_server(AAAA, is_silent) as address, serving(xray.handler()) as at:
        resolv_conf = tmp_path / "resolv.conf"
        resolv_conf.write_text(f"nameserver {address}\n")
        port = at.rpartition(":")[2]
        variables = {"AWS_ENDPOINT_URL_XRAY": f"http://{NAME}:{port}"}
        with extension(opt, before=in_its_own_world(resolv_conf), **variables) as running:
            running.next()
            with running.agent() as agent:
                running.invocation(agent, "one")
            _, documents = xray.requests.get(timeout=BOUND_S)
            assert len(documents) == 1
            assert running.end() == ""
