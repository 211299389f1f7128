"""What the extension leaves alone while Lambda waits for its first `next`."""

from __future__ import annotations

import socket
from pathlib import Path

import layer_zip
import pytest
from lone_extension import extension
from servers import BOUND_S


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer"))


def test_b_4_no_connection_to_x_ray_is_opened_before_the_first_invocation(opt: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as far:
        address = f"http://127.0.0.1:{far.getsockname()[1]}"
        with extension(opt, AWS_ENDPOINT_URL_XRAY=address) as running:
            running.next()
            far.settimeout(0)
            with pytest.raises(BlockingIOError):
                far.accept()
            with running.agent() as agent:
                running.start(agent, "request-1")
                far.settimeout(BOUND_S)
                far.accept()
