"""The extension alone, beside far ends that fail: how often they are asked, and that nothing is lost over it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import layer_zip
import pytest
from lone_extension import Running, extension
from servers import Far

INVOCATIONS = 25
FOREVER = 18446744073709551615


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer"))


def most_probes(seconds: float) -> int:
    """After the second failure the pauses are at least 0.5 s, 1 s, 2 s and so on."""
    probes, pause = 0, 0.5
    while seconds >= pause and probes < 10:
        seconds, pause, probes = seconds - pause, pause * 2, probes + 1
    return probes


def invocations(running: Running, far: Far, at_first: int) -> None:
    """From the third on nothing is asked at the end of an invocation, only by time."""
    running.next()
    begun = time.monotonic()
    with running.agent() as agent:
        for number in range(INVOCATIONS):
            running.invocation(agent, f"request-{number}")
    most = at_first + most_probes(time.monotonic() - begun)
    assert far.asked <= most, f"{far.how}: asked {far.asked} times, at most {most} were due"


@pytest.mark.parametrize(
    ("far", "at_first"),
    [
        (Far(503), 4),
        (Far(429), 4),
        (Far(503, Retry_After=str(FOREVER)), 1),
        (Far(403), 1),
        (Far("closes"), 8),
        (Far("refuses"), 0),
        (Far("hangs"), 2),
    ],
    ids=lambda far: str(far.how) + "".join(far.headers) if isinstance(far, Far) else "",
)
def test_p1_x_ray_that_fails_is_asked_by_time_and_everything_is_kept(
    opt: Path, tmp_path: Path, far: Far, at_first: int
) -> None:
    with far.serving() as address:
        variables = {
            "AWS_ENDPOINT_URL_XRAY": f"http://{address}",
            "OTEL_XRAY_FLUSH_TIMEOUT_MS": "300",
            "OTEL_XRAY_SPOOL": str(tmp_path / "spool"),
        }
        with extension(opt, **variables) as running:
            invocations(running, far, at_first)
            running.end()
            accounts = running.accounts()
    assert (accounts["received"], accounts["carried"], accounts["dropped"]) == (INVOCATIONS, INVOCATIONS, {})
    assert "unaccounted" not in accounts
    assert len(list((tmp_path / "spool").iterdir())) == 1


@pytest.mark.parametrize(("how", "at_first"), [(503, 4), ("refuses", 0), ("hangs", 2)])
def test_p1_a_collector_that_fails_costs_x_ray_nothing(
    opt: Path, tmp_path: Path, how: int | str, at_first: int
) -> None:
    far = Far(how)
    with far.serving() as address:
        variables = {
            "OTEL_XRAY_OUTLETS": "xray,otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}",
            "OTEL_XRAY_FLUSH_TIMEOUT_MS": "300",
            "OTEL_XRAY_SPOOL": str(tmp_path / "spool"),
        }
        with extension(opt, **variables) as running:
            invocations(running, far, at_first)
            assert running.xray.requests.qsize() == INVOCATIONS, "each with its own invocation"
            running.end()
            fates = running.accounts()["outlets"]
    assert (fates["xray"]["sent"], fates["otlp"]["carried"]) == (INVOCATIONS, INVOCATIONS)


def test_bet_30_what_was_kept_leaves_when_the_far_end_is_well_again(opt: Path) -> None:
    with ExitStack() as stack:
        far = Far(503)
        address = stack.enter_context(far.serving())
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}"}
        running = stack.enter_context(
            extension(opt, OTEL_XRAY_OUTLETS="xray,otlp", OTEL_XRAY_LOG_LEVEL="info", **endpoint)
        )
        running.next()
        agent = stack.enter_context(running.agent())
        for number in range(5):
            running.invocation(agent, f"request-{number}")
        far.how = 200
        before, number = far.asked, 5
        while far.asked < before + 2:
            # The probe, beside an invocation, and everything else behind that one or the next.
            running.invocation(agent, f"request-{number}")
            number += 1
            time.sleep(0.05)
        running.end()
        fates = running.accounts()["outlets"]
    assert (fates["otlp"]["sent"], fates["otlp"]["carried"], fates["xray"]["sent"]) == (number, 0, number)
