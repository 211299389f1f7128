"""The X-Ray SDK and the agent in one function: one trace, the right parents, each call once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Daemon, Start, Website
from servers import BOUND_S
from stage import HEADER, PARENT, ROOT, TRACE, attributes, bundled

TRACE_ID = f"1-{TRACE[:8]}-{TRACE[8:]}"
UNSAMPLED = HEADER.replace("Sampled=1", "Sampled=0")


@pytest.fixture(scope="session", params=["2.12.0", "2.15.0"])
def sdk(request: pytest.FixtureRequest) -> Path:
    """The X-Ray SDK as a function bundles it."""
    return bundled(f"aws-xray-sdk-{request.param}")


def with_sdk(sdk: Path, source: str) -> str:
    return f"import sys\nsys.path.insert(1, {str(sdk)!r})\n{source}"


NESTED = """
import urllib.request
from aws_xray_sdk.core import xray_recorder
def handler(event, context):
    with xray_recorder.in_subsegment("outer") as outer:
        outer.put_annotation("order", 42)
        urllib.request.urlopen(event).read()
        with xray_recorder.in_subsegment("inner") as inner:
            inner.put_metadata("items", [1, 2])
    urllib.request.urlopen(event).read()
    with xray_recorder.in_subsegment("later"):
        pass
"""


def test_a_15_subsegments_and_spans_nest_both_ways(start: Start, sdk: Path, daemon: Daemon, website: Website) -> None:
    with start(with_sdk(sdk, NESTED), variables=daemon.variables()) as function:
        taken = []
        for _ in range(2):
            function.invoke(website.url)
            taken.append(daemon.take(3))
        function.frames.wait_for(5, 2)
        for invocation in (0, 1):
            first, second, handler = function.frames.ended()[3 * invocation : 3 * invocation + 3]
            documents = taken[invocation]
            outer, inner, later = (documents[name] for name in ("outer", "inner", "later"))
            assert handler.parent_span_id.hex() == PARENT
            assert {document["trace_id"] for document in documents.values()} == {TRACE_ID}
            assert outer["parent_id"] == later["parent_id"] == handler.span_id.hex()
            assert inner["parent_id"] == outer["id"]
            assert (first.parent_span_id.hex(), second.parent_span_id) == (outer["id"], handler.span_id)
            assert (outer["annotations"], inner["metadata"]) == ({"order": 42}, {"default": {"items": [1, 2]}})
        assert function.output() == ""
    # The call inside of the subsegment says that it was made there.
    header = website.requests[0][2]["x-amzn-trace-id"]
    assert header == HEADER.replace(PARENT, function.frames.ended()[0].span_id.hex())


EXCEPTION = """
from aws_xray_sdk.core import xray_recorder
@xray_recorder.capture("pack")
def pack():
    raise ValueError("out of stock")
def handler(event, context):
    pack()
"""


def test_an_exception_in_a_subsegment_reads_as_without_the_layer(start: Start, sdk: Path, daemon: Daemon) -> None:
    answers = []
    for layer in (False, True):
        with start(with_sdk(sdk, EXCEPTION), layer=layer, variables=daemon.variables()) as function:
            answers.append(function.invoke().comparable)
            if layer:
                function.frames.wait_for(5, 1)
                handler = function.frames.named("app.handler")
    assert answers[0] == answers[1]
    pack = daemon.take(1)["pack"]
    assert pack["parent_id"] == handler.span_id.hex()
    assert (pack["fault"], pack["cause"]["exceptions"][0]["message"]) == (True, "out of stock")


PATCHED = """
import boto3, requests, urllib.request
from botocore.config import Config
from aws_xray_sdk.core import patch_all
patch_all(**OPTIONS)
s3 = boto3.client("s3", config=Config(retries={"max_attempts": 1}))
def handler(event, context):
    s3.get_object(Bucket="orders", Key="o-1")
    requests.get(event)
    urllib.request.urlopen(event).read()
"""


@pytest.mark.parametrize("double", [False, True])
def test_a_27_the_same_call_is_not_recorded_twice(
    start: Start, sdk: Path, daemon: Daemon, website: Website, double: bool
) -> None:
    source = with_sdk(sdk, PATCHED.replace("**OPTIONS", f"double_patch={double}"))
    variables = daemon.variables(AWS_ENDPOINT_URL=website.url)
    with start(source, variables=variables) as function:
        assert function.invoke(website.url).json is None
        function.frames.wait_for(5, 1)
        *calls, handler = function.frames.ended()
        assert "[otel-xray]" not in function.output()
    # patch_all() leaves http.client to the agent; with double_patch nothing is left.
    assert [call.name for call in calls] == ([] if double else ["GET"])
    documents = []
    while not daemon.documents.empty() or {"s3", "127.0.0.1"} - {document["name"] for document in documents}:
        documents.append(daemon.documents.get(timeout=BOUND_S))
    assert [document["namespace"] for document in documents if document["name"] == "s3"] == ["aws"]
    tops = [document for document in documents if document["parent_id"] == handler.span_id.hex()]
    assert {document["name"] for document in tops} == {"s3", "127.0.0.1"}
    # Each request names the document or the span of its own call. Where the SDK records http.client and no subsegment
    # is open, it sends no header.
    known = {document["id"] for document in documents} | {call.span_id.hex() for call in calls}
    sent = [headers["x-amzn-trace-id"] for _, _, headers in website.requests if "x-amzn-trace-id" in headers]
    assert len(sent) == (2 if double else 3)
    for fields in (dict(field.split("=") for field in header.split(";")) for header in sent):
        assert (fields["Root"], fields["Sampled"]) == (TRACE_ID, "1")
        assert fields["Parent"] in known


def test_the_agent_records_what_the_sdk_does_not(start: Start, sdk: Path, daemon: Daemon, website: Website) -> None:
    """Unsampled, the SDK keeps nothing; whether the trace is kept all the same is the extension's to decide."""
    source = with_sdk(sdk, PATCHED.replace("**OPTIONS", "double_patch=True"))
    with start(source, variables=daemon.variables(AWS_ENDPOINT_URL=website.url)) as function:
        function.invoke(website.url, header=UNSAMPLED)
        function.frames.wait_for(5, 1)
        *calls, handler = function.frames.ended()
    # In no order: the body of S3's answer is never read, and ends with its object.
    assert sorted(call.name for call in calls) == ["GET", "GET", "S3.GetObject"]
    assert {call.parent_span_id for call in calls} == {handler.span_id}
    assert daemon.documents.empty()


KEPT = """
import json, urllib.request
from aws_xray_sdk.core import patch_all, xray_recorder
patch_all()
import requests
def handler(event, context):
    with xray_recorder.in_subsegment("outer") as outer:
        outer.put_annotation("order", 42)
        xray_recorder.put_annotation("paid", True)
        xray_recorder.put_metadata("items", [1, 2], "shop")
        requests.get(event)
        try:
            pack()
        except ValueError:
            pass
    return [xray_recorder.is_sampled(), xray_recorder.current_subsegment() is None]
@xray_recorder.capture()
def pack():
    raise ValueError("out of stock")
"""


@pytest.mark.parametrize("header", [UNSAMPLED, HEADER.partition(";")[0]])
def test_row_4_what_the_function_opens_is_there_when_the_trace_is_kept(
    start: Start, sdk: Path, daemon: Daemon, website: Website, header: str
) -> None:
    with start(with_sdk(sdk, KEPT), variables=daemon.variables()) as function:
        assert function.invoke(website.url, header=header).json == [False, True]
        function.frames.wait_for(5, 1)
        outer, pack, call, handler = (function.frames.named(name) for name in ("outer", "pack", "GET", "app.handler"))
        assert len(function.frames.ended()) == 4
        assert "[otel-xray]" not in function.output()
    assert daemon.documents.empty()
    assert {span.trace_id.hex() for span in (outer, pack, call, handler)} == {TRACE}
    assert outer.parent_span_id == handler.span_id
    assert pack.parent_span_id == call.parent_span_id == outer.span_id
    assert outer.start_time_unix_nano <= pack.start_time_unix_nano <= pack.end_time_unix_nano
    seen = attributes(outer)
    assert (seen["order"], seen["paid"], seen["aws.xray.annotations"]) == (42, True, ["order", "paid"])
    assert json.loads(seen["aws.xray.metadata.shop"]) == {"items": [1, 2]}
    thrown = attributes(pack.events[0])
    assert (pack.status.code, thrown["exception.type"], thrown["exception.message"]) == (
        2,
        "ValueError",
        "out of stock",
    )
    assert 'File "app.py"' in thrown["exception.stacktrace"]
    assert (outer.status.code, outer.flags) == (0, 0)
    # Nobody further on is told to sample.
    assert "Sampled=1" not in website.requests[0][2]["x-amzn-trace-id"]


WITH_OTEL = """
from aws_xray_sdk.core import xray_recorder
from opentelemetry import trace
tracer = trace.get_tracer("mine")
def handler(event, context):
    with tracer.start_as_current_span("span"):
        with xray_recorder.in_subsegment("subsegment"):
            trace.get_current_span().set_attribute("on", "the span")
            with tracer.start_as_current_span("inner span"):
                with xray_recorder.in_subsegment("inner subsegment"):
                    pass
    with xray_recorder.in_subsegment("later"):
        trace.get_current_span().set_attribute("on", "the handler")
"""


def test_a_14_a_15_manual_spans_and_subsegments_nest_both_ways(start: Start, sdk: Path, daemon: Daemon) -> None:
    with start(with_sdk(sdk, WITH_OTEL), variables=daemon.variables()) as function:
        function.invoke()
        function.frames.wait_for(5, 1)
        span, inner, handler = (function.frames.named(name) for name in ("span", "inner span", "app.handler"))
        assert function.output() == ""
    documents = daemon.take(3)
    assert documents["subsegment"]["parent_id"] == span.span_id.hex()
    assert inner.parent_span_id.hex() == documents["subsegment"]["id"]
    assert documents["inner subsegment"]["parent_id"] == inner.span_id.hex()
    assert documents["later"]["parent_id"] == handler.span_id.hex()
    assert [attributes(one)["on"] for one in (span, handler)] == ["the span", "the handler"]


THREADS = """
import concurrent.futures
from aws_xray_sdk.core import xray_recorder
def work(entity, name):
    if entity is not None:
        xray_recorder.set_trace_entity(entity)
    with xray_recorder.in_subsegment(name):
        pass
def handler(event, context):
    with xray_recorder.in_subsegment("around") as around:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(work, around, "told").result()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(work, None, "not told").result()
"""


def test_a_25_subsegments_in_threads_have_a_parent(start: Start, sdk: Path, daemon: Daemon) -> None:
    with start(with_sdk(sdk, THREADS), variables=daemon.variables()) as function:
        function.invoke()
        function.frames.wait_for(5, 1)
        handler = function.frames.named("app.handler")
    documents = daemon.take(3)
    assert documents["told"]["parent_id"] == documents["around"]["id"]
    assert documents["not told"]["parent_id"] == handler.span_id.hex()


def test_sqs_2_subsegments_go_on_in_a_producers_trace(start: Start, sdk: Path, daemon: Daemon) -> None:
    row = json.loads((ROOT / "tests" / "triggers" / "cases" / "sqs-one-message-undecided.json").read_text())
    with start(
        with_sdk(sdk, NESTED.replace("urllib.request.urlopen", "(lambda _: sys.stdin)")), variables=daemon.variables()
    ) as function:
        function.invoke(row["event"], header=row["header"])
        function.invoke({}, header=UNSAMPLED)
        function.frames.wait_for(5, 2)
        handler = function.frames.ended()[0]
    documents = daemon.take(3)
    root = row["expect"]["trace_id"]
    assert {document["trace_id"] for document in documents.values()} == {f"1-{root[:8]}-{root[8:]}"}
    assert documents["outer"]["parent_id"] == handler.span_id.hex()


WHERE = """
import os, sys
import aws_xray_sdk.core
def handler(event, context):
    emitter = aws_xray_sdk.core.xray_recorder.emitter
    return [f"{emitter.ip}:{emitter.port}", os.environ.get("AWS_XRAY_DAEMON_ADDRESS")]
"""
LAMBDAS = "169.254.79.129:2000"


def test_env_2_the_sdk_sends_to_the_extension_where_that_listens(start: Start, sdk: Path, daemon: Daemon) -> None:
    with start(with_sdk(sdk, WHERE), variables=daemon.variables()) as function:
        assert function.invoke().json == [daemon.address, daemon.address]
        hello = json.loads(function.frames.of(1)[0])
    # The extension's own way to the platform's daemon.
    assert hello["env"]["AWS_XRAY_DAEMON_ADDRESS"] == LAMBDAS


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"AWS_XRAY_DAEMON_ADDRESS": "10.0.0.7:2000"}, "10.0.0.7:2000"),
        ({"OTEL_XRAY_DAEMON": "off"}, LAMBDAS),
        ({"OTEL_XRAY_DAEMON": "127.0.0.1:1"}, LAMBDAS),
        ({"OTEL_XRAY_DAEMON": "example.com:2000"}, LAMBDAS),
    ],
)
def test_env_2_otherwise_the_address_stays(
    start: Start, sdk: Path, daemon: Daemon, variables: dict[str, str], expected: str
) -> None:
    with start(with_sdk(sdk, WHERE), variables=daemon.variables(**variables)) as function:
        assert function.invoke().json == [expected, expected]


def test_without_an_extension_the_sdk_is_as_it_was(start: Start, sdk: Path, daemon: Daemon) -> None:
    with start(with_sdk(sdk, WHERE), variables=daemon.variables(), listening=False) as function:
        assert function.invoke().json == [LAMBDAS, LAMBDAS]


WITHOUT = """
import os, sys
def handler(event, context):
    return [os.environ["AWS_XRAY_DAEMON_ADDRESS"], "_otel_xray_agent.xray.sdk" in sys.modules]
"""


def test_a_function_without_the_sdk_keeps_its_variable(start: Start, daemon: Daemon) -> None:
    with start(WITHOUT, variables=daemon.variables()) as function:
        assert function.invoke().json == [LAMBDAS, False]


HTTPLIB = """
import urllib3
VERSION = urllib3.__version__
from aws_xray_sdk.core import patch
patch(["httplib"])
import requests, urllib.request
def handler(event, context):
    requests.get(event + "/requests")
    urllib3.PoolManager().request("GET", event + "/urllib3")
    urllib.request.urlopen(event + "/urllib").read()
    return VERSION
"""


def test_a_27_after_the_patch_of_httplib_nothing_falls_between_two_recorders(
    start: Start, sdk: Path, daemon: Daemon, website: Website
) -> None:
    with start(with_sdk(sdk, HTTPLIB), variables=daemon.variables()) as function:
        major = int(function.invoke(website.url).json.partition(".")[0])
        function.frames.wait_for(5, 1)
        *calls, handler = function.frames.ended()
    seen = [attributes(call)["url.full"].rpartition("/")[2] for call in calls]
    # From version 2 on urllib3 sends past what the SDK patches.
    assert seen == ([] if major < 2 else ["requests", "urllib3"])
    assert {call.parent_span_id for call in calls} <= {handler.span_id}
    urls = set()
    while (
        not daemon.documents.empty()
        or len(urls) + len(seen) < 3
        or not any("/urllib" in url and "3" not in url.rpartition("/")[2] for url in urls)
    ):
        urls.add(daemon.documents.get(timeout=BOUND_S)["http"]["request"]["url"])
    assert {url.rpartition("/")[2] for url in urls} == {"requests", "urllib3", "urllib"} - set(seen)


REMOTE = """
import urllib.request
from aws_xray_sdk.core import patch_all, xray_recorder
patch_all()
import requests
def handler(event, context):
    with xray_recorder.in_subsegment("partner", namespace="remote"):
        urllib.request.urlopen(event + "/inside").read()
    xray_recorder.begin_subsegment("bucket", namespace="aws")
    urllib.request.urlopen(event + "/inside").read()
    xray_recorder.end_subsegment()
    requests.get(event + "/library")
"""


@pytest.mark.parametrize("header", [HEADER, UNSAMPLED])
def test_calls_inside_of_a_remote_subsegment_of_the_functions_own_are_below_it(
    start: Start, sdk: Path, daemon: Daemon, website: Website, header: str
) -> None:
    with start(with_sdk(sdk, REMOTE), variables=daemon.variables()) as function:
        function.invoke(website.url, header=header)
        function.frames.wait_for(5, 1)
        *calls, handler = function.frames.ended()
    sent = [fields["x-amzn-trace-id"].split(";")[1][7:] for _, _, fields in website.requests]
    assert [call.span_id.hex() for call in calls[:2]] == sent[:2]
    if header == HEADER:
        documents = daemon.take(3)
        partner, bucket, library = (documents[name] for name in ("partner", "bucket", "127.0.0.1"))
        assert [call.parent_span_id.hex() for call in calls] == [partner["id"], bucket["id"]]
        # The SDK's library has recorded its call by itself.
        assert (sent[2], library["parent_id"]) == (library["id"], handler.span_id.hex())


EXPLICIT = """
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.models.subsegment import Subsegment
def handler(event, context):
    with xray_recorder.in_subsegment("outer") as outer:
        with xray_recorder.in_subsegment("beside"):
            inner = Subsegment("inner", "local", outer.parent_segment)
            outer.add_subsegment(inner)
            inner.close()
"""


def test_a_subsegment_added_by_hand_keeps_its_parent(start: Start, sdk: Path, daemon: Daemon) -> None:
    with start(with_sdk(sdk, EXPLICIT), variables=daemon.variables()) as function:
        assert function.invoke().json is None
        function.frames.wait_for(5, 1)
        handler = function.frames.named("app.handler")
        assert function.output() == ""
    documents = daemon.take(3)
    outer = documents["outer"]
    assert outer["parent_id"] == handler.span_id.hex()
    assert documents["inner"]["parent_id"] == documents["beside"]["parent_id"] == outer["id"]
