"""What a call takes along of the trace header."""

from __future__ import annotations

import pytest
from conftest import Start, Website
from stage import PARENT, TRACE

GET = """
import http.client
from urllib.parse import urlsplit
def handler(event, context):
    connection = http.client.HTTPConnection(urlsplit(event).netloc)
    connection.request("GET", "/")
    return connection.getresponse().status
"""
ROOT = f"Root=1-{TRACE[:8]}-{TRACE[8:]}"
CALLER = f"Parent={PARENT}"


@pytest.mark.parametrize(
    ("header", "after"),
    [
        # HDR-4: Lineage and what nobody knows go on byte for byte, Self does not.
        (
            f"Self=1-x;Lineage=a87bd80c:1|68fd508a:5;{ROOT};{CALLER};Sampled=1;Odd= =a;b",
            ";Sampled=1;Lineage=a87bd80c:1|68fd508a:5;Odd= =a",
        ),
        # HDR-6: a decision against the trace goes on.
        (f"{ROOT};{CALLER};Sampled=0;Lineage=1:2:3", ";Sampled=0;Lineage=1:2:3"),
        # HDR-3: nobody has decided, and nobody says so.
        (f"{ROOT};{CALLER}", ""),
    ],
)
def test_hdr_4_hdr_6_what_a_call_takes_along(start: Start, website: Website, header: str, after: str) -> None:
    with start(GET) as function:
        assert function.invoke(website.url, header=header).json == 200
        function.frames.wait_for(5, 1)
        call, _ = function.frames.ended()
    sent = website.requests[0][2]["x-amzn-trace-id"]
    assert sent == f"{ROOT};Parent={call.span_id.hex()}{after}"
