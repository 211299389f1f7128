"""SIGTERM to the extension: what waits leaves, or is left for the next process, and the process ends by the signal."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import layer_zip
import pytest
from lone_extension import Running, extension
from servers import BOUND_S, Far


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer"))


def terminate(running: Running) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(timeout=BOUND_S) == -signal.SIGTERM
    assert running.process.stdout
    running.lines = running.process.stdout.read().decode().splitlines()


def test_p2_sigterm_sends_what_periodic_flushes_have_kept(opt: Path) -> None:
    with extension(opt, OTEL_XRAY_FLUSH="periodic:900000", OTEL_XRAY_LOG_LEVEL="info") as running:
        running.next()
        with running.agent() as agent:
            running.invocation(agent, "request-1")
            assert running.xray.requests.empty()
            terminate(running)
        assert running.xray.requests.qsize() == 1
        assert (running.accounts()["sent"], running.accounts()["carried"]) == (1, 0)


@pytest.mark.parametrize("how", [503, "hangs"])
def test_p2_sigterm_leaves_what_x_ray_does_not_take_also_in_the_middle_of_a_flush(
    opt: Path, tmp_path: Path, how: int | str
) -> None:
    far = Far(how)
    with far.serving() as address:
        variables = {
            "AWS_ENDPOINT_URL_XRAY": f"http://{address}",
            "OTEL_XRAY_FLUSH_TIMEOUT_MS": "60000",
            "OTEL_XRAY_SPOOL": str(tmp_path / "spool"),
        }
        with extension(opt, **variables) as running:
            running.next()
            with running.agent() as agent:
                running.start(agent, "request-1")
                while far.asked == 0:
                    time.sleep(0.01)
                terminate(running)
            assert running.accounts()["carried"] == 1
    [left] = (tmp_path / "spool").iterdir()
    assert "-xray-1-" in left.name


def test_sigterm_before_the_first_event_ends_at_once(opt: Path) -> None:
    with extension(opt) as running:
        running.next()
        terminate(running)
        assert running.xray.requests.empty()


def test_sigterm_before_the_registration_is_what_it_was(opt: Path) -> None:
    with extension(opt, AWS_LAMBDA_RUNTIME_API="127.0.0.1:1") as running:
        terminate(running)
