"""The extension alone, between stand-ins: events that no loop should die of."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import layer_zip
import pytest
from lone_extension import TRACE, extension
from servers import BOUND_S


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer"))


@pytest.mark.parametrize(
    "odd",
    [
        {"eventType": "RESTORE"},
        {"eventType": "INVOKE"},
        {"eventType": "INVOKE", "requestId": "r", "deadlineMs": "soon", "tracing": {}},
        {"nothing": "known"},
        [],
    ],
)
def test_t_10_an_event_nobody_knows_stops_nothing(opt: Path, odd: Any) -> None:
    with extension(opt) as running:
        running.next()
        running.api.send(odd)
        running.next()
        with running.agent() as agent:
            running.invocation(agent, "after-it")
        _, documents = running.xray.requests.get(timeout=BOUND_S)
        assert [document["trace_id"] for document in documents] == [f"1-{TRACE[:8]}-{TRACE[8:]}"]
        said = running.end()
    assert running.api.errors == []
    # An event of a known kind is taken as far as it can be read; one that is passed over is told.
    is_known = isinstance(odd, dict) and odd.get("eventType") == "INVOKE"
    assert said.count("\n") == (0 if is_known else 1), said


def test_t_2_what_an_agent_wrote_before_an_event_counts_for_it(opt: Path) -> None:
    with extension(opt) as running:
        running.next()
        with running.agent() as agent:
            for number in range(20):
                running.invocation(agent, f"request-{number}")
                assert running.xray.requests.qsize() == 1, "sent before the next event is asked for (T-2)"
                running.xray.requests.get_nowait()
        assert running.end() == ""


def test_l_5_3_a_next_that_takes_long_is_waited_for(opt: Path) -> None:
    with extension(opt) as running:
        running.next()
        time.sleep(1)
        assert running.api.next_calls.empty(), "no second next while one is waiting"
        with running.agent() as agent:
            running.invocation(agent, "late")
        assert running.end() == ""
