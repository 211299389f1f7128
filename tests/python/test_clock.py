"""Times that the function freezes, as tests do, do not date spans."""

from __future__ import annotations

import time

import pytest
from conftest import Start, Website
from stage import bundled

FROZEN = 1_326_511_294
"""2012-01-14T03:21:34Z."""

FREEZERS = {
    "freezegun": "from freezegun import freeze_time\nfreeze = lambda: freeze_time('2012-01-14 03:21:34')\n",
    "time-machine": "import time_machine\nfreeze = lambda: time_machine.travel(1326511294, tick=False)\n",
    "a replaced function": (
        "import unittest.mock\nfreeze = lambda: unittest.mock.patch('time.time_ns', lambda: 1326511294000000000)\n"
    ),
}
SOURCE = """
import sys, time
sys.path.insert(1, {folder!r})
{freezer}
from opentelemetry import trace
import urllib.request
tracer = trace.get_tracer("shop")
def handler(event, context):
    with freeze():
        with tracer.start_as_current_span("manual") as span:
            span.add_event("seen")
        urllib.request.urlopen(event).read()
        return time.time_ns()
"""


@pytest.mark.parametrize("freezer", FREEZERS)
def test_a_frozen_clock_does_not_date_spans(start: Start, website: Website, freezer: str) -> None:
    source = SOURCE.format(folder=str(bundled("frozen-clocks")), freezer=FREEZERS[freezer])
    with start(source) as function:
        before = time.time_ns()
        seen = [function.invoke(website.url).json for _ in range(2)]
        function.frames.wait_for(5, 2)
        after = time.time_ns()
        spans = function.frames.ended()
    assert [moment // 1_000_000_000 for moment in seen] == [FROZEN, FROZEN]
    assert [span.name for span in spans] == ["manual", "GET", "app.handler"] * 2
    for span in spans:
        assert before <= span.start_time_unix_nano <= span.end_time_unix_nano <= after
        assert all(before <= event.time_unix_nano <= after for event in span.events)


LOADED_FROZEN = """
import sys
sys.path.insert(1, {folder!r})
import os, urllib.request
urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"]).read()
from freezegun import freeze_time
freeze_time("2012-01-14 03:21:34").start()
def handler(event, context):
    return event
"""


def test_pl_82_a_clock_that_stays_frozen_hides_no_call_before_the_first_invocation(
    start: Start, website: Website
) -> None:
    source = LOADED_FROZEN.format(folder=str(bundled("frozen-clocks")))
    before = time.time_ns()
    with start(source, variables={"AWS_ENDPOINT_URL": website.url}) as function:
        function.invoke()
        function.frames.wait_for(5, 1)
        call, handler = function.frames.ended()
    assert (call.name, call.parent_span_id) == ("GET", handler.span_id)
    assert before < call.start_time_unix_nano < call.end_time_unix_nano < handler.start_time_unix_nano
