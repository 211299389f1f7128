"""Invocations of which neither Lambda nor a caller has decided (LAM-6): the agent does, and tells whom it calls."""

from __future__ import annotations

import pytest
from conftest import Start, Website
from stage import PARENT
from test_headers import GET

UNLIKELY, LIKELY = "ffffffff", "0cccccc"
"""Ends of trace ids outside and inside of 5 %."""


def header(number: int, end: str, sampled: str) -> str:
    said = f";Sampled={sampled}" if sampled else ""
    return f"Root=1-5759e988-{number:0{24 - len(end)}x}{end};Parent={PARENT}{said}"


ALL_OURS = [("0", LIKELY + "0", True), ("", LIKELY + "1", True), ("?", LIKELY + "2", True)]


@pytest.mark.parametrize(
    ("variables", "invocations"),
    [
        ({"OTEL_XRAY_SAMPLING": "auto"}, ALL_OURS),
        ({"OTEL_XRAY_SAMPLING": ""}, ALL_OURS),
        ({"OTEL_XRAY_SAMPLING": "auto", "OTEL_XRAY_TRACING_MODE": "Active"}, [("0", LIKELY + "0", False)]),
        ({"OTEL_XRAY_SAMPLING": "Rules"}, [("0", LIKELY + "0", False)]),
        ({"OTEL_XRAY_SAMPLING": "respect"}, [("0", LIKELY + "0", False), ("", LIKELY + "1", False)]),
        # LAM-5: who has said yes has said no, too.
        (
            {"OTEL_XRAY_SAMPLING": "auto"},
            [("1", UNLIKELY, True), ("0", LIKELY + "0", False), ("", LIKELY + "1", True)],
        ),
    ],
)
def test_lam_6_what_is_undecided_is_decided_and_told(
    start: Start, website: Website, variables: dict[str, str], invocations: list[tuple[str, str, bool]]
) -> None:
    with start(GET, variables=variables) as function:
        for number, (sampled, end, expected) in enumerate(invocations, 1):
            assert function.invoke(website.url, header=header(number, end, sampled)).json == 200
            function.frames.wait_for(5, number)
            call, handler = function.frames.ended()[-2:]
            assert (handler.flags & 1, call.flags & 1) == (expected, expected)
            sent = website.requests[-1][2]
            assert (";Sampled=1" in sent["x-amzn-trace-id"]) is expected
            assert sent["traceparent"][-2:] == ("01" if expected else "00")


def test_smp_15_one_a_second_and_five_percent_of_the_others(start: Start, website: Website) -> None:
    with start(GET, variables={"OTEL_XRAY_SAMPLING": "auto"}) as function:
        count = 40
        for number in range(count):
            function.invoke(website.url, header=header(number, UNLIKELY, "0"))
        function.frames.wait_for(5, count)
        handlers = [span for span in function.frames.ended() if span.kind == 2]
    sampled = [span for span in handlers if span.flags & 1]
    seconds = {span.start_time_unix_nano // 10**9 for span in handlers}
    # The clock is read a moment apart for the decision and for the span.
    assert len(handlers) == count
    assert 1 <= len(sampled) <= len(seconds) + 1
