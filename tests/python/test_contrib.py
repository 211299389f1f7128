"""OpenTelemetry's instrumentations among the function's packages, by choice (OTEL_PYTHON_ENABLED_INSTRUMENTATIONS)."""

from __future__ import annotations

import pytest
from _otel_xray_agent import settings
from conftest import Start, Website
from stage import attributes, bundled

ENABLED, DISABLED = (f"OTEL_PYTHON_{kind}_INSTRUMENTATIONS" for kind in ("ENABLED", "DISABLED"))
KNOWN = {"botocore", "urllib3", "http.client", "opentelemetry", "threading", "logging"}
# What is set -> what of the agent's own is off, and what is asked for beyond.
CHOICES = [
    ({}, {"logging"}, []),
    ({DISABLED: "botocore, nothing"}, {"botocore", "logging"}, []),
    ({DISABLED: "*"}, KNOWN, []),
    ({ENABLED: "requests"}, {"botocore", "urllib3", "http.client", "logging"}, ["requests"]),
    ({ENABLED: " urllib3 ,, system_metrics"}, {"botocore", "http.client", "logging"}, ["system_metrics"]),
    ({ENABLED: "a,b", DISABLED: "a"}, {"botocore", "urllib3", "http.client", "logging"}, ["b"]),
    ({ENABLED: "a,urllib3", DISABLED: "*"}, KNOWN, []),
    ({ENABLED: "logging"}, {"botocore", "urllib3", "http.client"}, []),
    ({settings.LOG_TRACE_IDS: "on"}, set(), []),
    ({settings.LOG_TRACE_IDS: "on", DISABLED: "logging"}, {"logging"}, []),
]


@pytest.mark.parametrize(("environ", "off", "named"), CHOICES)
def test_what_is_chosen(environ: dict[str, str], off: set[str], named: list[str]) -> None:
    lines: list[tuple[str, str]] = []
    disabled, beyond = settings.chosen(environ, KNOWN, {"logging"}, lambda *line: lines.append(line))
    assert (disabled & KNOWN, beyond, lines) == (off, named, [])


SOURCE = """
import sys
import requests
def handler(event, context):
    return requests.get(event).status_code
"""


def test_an_instrumentation_of_the_functions_records_instead_of_the_agent(start: Start, website: Website) -> None:
    variables = {ENABLED: "requests", "PYTHONPATH": str(bundled("opentelemetry-sdk"))}
    with start(SOURCE, variables=variables) as function:
        assert function.invoke(website.url + "/price").json == 200
        function.frames.wait_for(5, 1)
        call, handler = function.frames.ended()
        assert "[otel-xray]" not in function.output()
    assert attributes(call)["otel.scope.name"] == "opentelemetry.instrumentation.requests"
    assert (call.kind, call.parent_span_id) == (3, handler.span_id)
    # Told on by theirs, as the API's propagator writes it.
    assert call.span_id.hex() in website.requests[0][2]["traceparent"]


@pytest.mark.parametrize("name", ["nothing-like-that", "requests"])
def test_one_that_is_not_there_is_said_in_one_line(start: Start, website: Website, name: str) -> None:
    with start(SOURCE, variables={ENABLED: name}) as function:
        assert function.invoke(website.url).json == 200
        function.frames.wait_for(5, 1)
        lines = [line for line in function.output().splitlines() if "[otel-xray]" in line]
    assert len(lines) == 1
    assert f"{ENABLED} names {name}, and no instrumentation of that name is among the function's packages" in lines[0]
    assert [span.name for span in function.frames.ended()] == ["app.handler"]
