"""Calls while the function is loaded come into the trace of the invocation that has waited for it (PL-82)."""

from __future__ import annotations

import pytest
from conftest import Stalling, Start, Website
from stage import HEADER, attributes, bundled

DONE, ANSWERED = 5, 6
UNSAMPLED = HEADER.replace("Sampled=1", "Sampled=0")

MODULE = {
    "boto3": (
        "import boto3\nboto3.client('s3').get_object(Bucket='orders', Key='settings')['Body'].read()\n",
        "S3.GetObject",
    ),
    "urllib3": ("import urllib3\nurllib3.PoolManager().request('GET', URL + '/settings')\n", "GET"),
    "urllib": ("from urllib.request import urlopen\nurlopen(URL + '/settings').read()\n", "GET"),
    "httpx": ("import httpx\nhttpx.get(URL + '/settings')\n", "GET"),
    "httpx, async": (
        "import asyncio, httpx\nasync def get():\n    async with httpx.AsyncClient() as client:\n"
        "        await client.get(URL + '/settings')\nasyncio.run(get())\n",
        "GET",
    ),
    "aiohttp": (
        "import asyncio, aiohttp\nasync def get():\n    async with aiohttp.ClientSession() as session:\n"
        "        await (await session.get(URL + '/settings')).read()\nasyncio.run(get())\n",
        "GET",
    ),
}
HEAD = "import os, sys\nsys.path.insert(1, {packages!r})\nURL = os.environ['AWS_ENDPOINT_URL']\n"
HANDLER = "def handler(event, context):\n    return event\n"


def loading(library: str) -> str:
    return HEAD.format(packages=str(bundled("http-newest"))) + MODULE[library][0] + HANDLER


@pytest.mark.parametrize("library", MODULE)
def test_pl_82_the_first_invocation_has_them(start: Start, website: Website, library: str) -> None:
    with start(loading(library), variables={"AWS_ENDPOINT_URL": website.url}) as function:
        for _ in range(2):
            function.invoke()
        function.frames.wait_for(DONE, 2)
        call, first, second = function.frames.ended()
        assert function.output() == ""
    assert (call.name, call.kind) == (MODULE[library][1], 3)
    assert (call.trace_id, call.parent_span_id, call.flags) == (first.trace_id, first.span_id, 0x101)
    assert call.start_time_unix_nano < call.end_time_unix_nano < first.start_time_unix_nano
    assert attributes(call)["http.response.status_code"] == 200
    # Nobody knew the trace then.
    assert [headers.keys() & {"x-amzn-trace-id", "traceparent"} for _, _, headers in website.requests] == [set()]
    assert first.name == second.name == "app.handler"
    # It comes with the beginning of the invocation, which may hang.
    assert [kind for kind, _ in function.frames.frames][:6] == [1, 2, 3, 4, 4, 5]


def test_pl_82_nothing_is_kept_where_nobody_samples(start: Start, website: Website) -> None:
    with start(loading("urllib3"), variables={"AWS_ENDPOINT_URL": website.url}) as function:
        function.invoke(header=UNSAMPLED)
        function.invoke()
        function.frames.wait_for(DONE, 2)
        assert [span.name for span in function.frames.ended()] == ["app.handler"] * 2


def test_pl_82_unless_the_trace_may_be_kept(start: Start, website: Website) -> None:
    variables = {"AWS_ENDPOINT_URL": website.url, "OTEL_XRAY_KEEP": "errors"}
    with start(loading("urllib3"), variables=variables) as function:
        function.invoke(header=UNSAMPLED)
        function.frames.wait_for(DONE, 1)
        call, handler = function.frames.ended()
    assert (call.name, call.flags, call.parent_span_id) == ("GET", 0, handler.span_id)


def test_pl_82_a_call_that_failed_says_so(start: Start) -> None:
    source = HEAD.format(packages=str(bundled("http-newest"))) + (
        "import httpx\ntry:\n    httpx.get('http://127.0.0.1:9/')\nexcept httpx.ConnectError:\n    pass\n"
    )
    with start(source + HANDLER, variables={"AWS_ENDPOINT_URL": ""}) as function:
        function.invoke()
        function.frames.wait_for(DONE, 1)
        call, handler = function.frames.ended()
    assert (call.status.code, handler.status.code) == (2, 0)
    assert attributes(call)["error.type"] == "httpx.ConnectError"


def test_pl_82_an_answer_that_the_handler_reads_is_waited_for_there(start: Start, stalling: Stalling) -> None:
    source = HEAD.format(packages=str(bundled("http-newest"))) + (
        "import requests\nanswer = requests.get(URL + '/whole', stream=True)\n"
        "def handler(event, context):\n    return answer.text\n"
    )
    with start(source, variables={"AWS_ENDPOINT_URL": stalling.url}) as function:
        function.invoke(answered=False)
        function.frames.wait_for(ANSWERED, 2)
        assert [kind for kind, _ in function.frames.frames] == [1, 2, 3, 3, 6, 6]
        handler, call = function.frames.started()
        assert (call.name, call.parent_span_id, call.trace_id) == ("GET", handler.span_id, handler.trace_id)
        stalling.go_on.set()
        assert function.answer().json == "halfhalf"
        function.frames.wait_for(DONE, 1)
        assert [span.name for span in function.frames.ended()] == ["GET", "app.handler"]


def test_pl_82_how_many_are_kept_is_bounded_and_the_others_are_counted(start: Start, website: Website) -> None:
    source = HEAD.format(packages=str(bundled("http-newest"))) + (
        "import urllib3\npool = urllib3.PoolManager()\nfor number in range(70):\n"
        "    pool.request('GET', f'{URL}/{number}')\n"
    )
    with start(source + HANDLER, variables={"AWS_ENDPOINT_URL": website.url}) as function:
        function.invoke()
        function.frames.wait_for(DONE, 1)
        names = [span.name for span in function.frames.ended()]
        dropped = int.from_bytes(function.frames.of(DONE)[0][1:5], "little")
    assert names == ["GET"] * 64 + ["app.handler"]
    assert dropped == 6


def test_pl_82_what_ran_ahead_nobody_has_paid_for(start: Start, website: Website) -> None:
    """As with provisioned concurrency, or from a snapshot (L-8.3)."""
    source = loading("urllib3") + (
        "import time\nfrom _otel_xray_agent.record import trace\n"
        "ahead = trace.clock._wall_ns\ntrace.clock._wall_ns = lambda: ahead() + 2_000_000_000\n"
    )
    with start(source, variables={"AWS_ENDPOINT_URL": website.url}) as function:
        function.invoke()
        function.frames.wait_for(DONE, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]
    assert len(website.requests) == 1


def test_pl_82_without_a_call_nothing_of_it_is_loaded(start: Start) -> None:
    source = "import sys, urllib.request\ndef handler(event, context):\n    return sorted(sys.modules)\n"
    with start(source) as function:
        assert "_otel_xray_agent.record.initialisation" not in function.invoke().json


def test_pl_82_a_function_that_could_not_be_loaded_tells_what_it_had_called(start: Start, website: Website) -> None:
    source = loading("urllib3").replace(HANDLER, "raise KeyError('no such setting')\n")
    with start(source, variables={"AWS_ENDPOINT_URL": website.url}) as function:
        function.frames.wait_for(4, 2)
        load, call = function.frames.ended()
        assert [kind for kind, _ in function.frames.frames] == [1, 4, 4]
    assert (load.name, call.name) == ("load app.handler", "GET")
    assert (call.trace_id, call.parent_span_id, call.flags) == (load.trace_id, load.span_id, 0x101)
    assert load.start_time_unix_nano < call.start_time_unix_nano < call.end_time_unix_nano < load.end_time_unix_nano
