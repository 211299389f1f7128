"""A function's own OpenTelemetry SDK: it works as without the layer, and its spans and the agent's are one tree."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping

import pytest
from conftest import Start, Website
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from servers import BOUND_S, Handler, serving
from stage import HEADER, TRACE, attributes, bundled


class Collector:
    """An OTLP endpoint: the spans of the function's own exporter."""

    def __init__(self) -> None:
        self.url = ""
        self.headers: list[Mapping[str, str]] = []
        self._spans: queue.Queue[Span] = queue.Queue()

    def take(self, count: int) -> dict[str, Span]:
        spans = [self._spans.get(timeout=BOUND_S) for _ in range(count)]
        assert self._spans.empty()
        assert len({span.name for span in spans}) == count
        return {span.name: span for span in spans}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()

    class Endpoint(Handler):
        def do_POST(self) -> None:
            made.headers.append({name.lower(): value for name, value in self.headers.items()})
            for resource in ExportTraceServiceRequest.FromString(self.body()).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        made._spans.put(span)
            self.answer(200, {})

    with serving(Endpoint) as address:
        made.url = f"http://{address}"
        yield made


SDK = f"""
import sys
sys.path.insert(1, {str(bundled("opentelemetry-sdk"))!r})
import os, urllib.request
from opentelemetry import context, propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
tracer = trace.get_tracer("own")
def register(**options):
    provider = TracerProvider(**options)
    processor = SimpleSpanProcessor if os.environ.get("SIMPLE") else BatchSpanProcessor
    provider.add_span_processor(processor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    assert trace.get_tracer_provider() is provider
    return provider
"""


def endpoint(collector: Collector, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **more}


OWN_ROOT = """
import requests
provider = register()
def handler(event, context):
    with tracer.start_as_current_span("own-root") as span:
        span.set_attribute("order.id", 7)
        requests.get(event)
        assert trace.get_current_span() is span and span.attributes == {"order.id": 7}
    requests.get(event)
    provider.force_flush()
"""


@pytest.mark.parametrize("processor", ["SIMPLE", "BATCH"])
def test_its_spans_and_the_agents_are_one_tree_and_its_exporter_is_silent(
    start: Start, website: Website, collector: Collector, processor: str
) -> None:
    with start(SDK + OWN_ROOT, variables=endpoint(collector, **{processor: "1"})) as function:
        function.invoke(website.url)
        function.frames.wait_for(5, 1)
        inside, beside, handler = function.frames.ended()
        own = collector.take(1)["own-root"]
        assert "WARN" not in function.output()
    assert (own.trace_id.hex(), own.parent_span_id) == (TRACE, handler.span_id)
    assert attributes(own) == {"order.id": 7}
    assert (inside.name, inside.trace_id, inside.parent_span_id) == ("GET", own.trace_id, own.span_id)
    assert (beside.name, beside.parent_span_id) == ("GET", handler.span_id)
    # What is downstream hangs below the call.
    assert website.requests[0][2]["traceparent"] == f"00-{TRACE}-{inside.span_id.hex()}-01"
    # As without the layer: nothing that the exporter sends belongs to the trace.
    assert not {"traceparent", "x-amzn-trace-id"} & collector.headers[0].keys()


NO_EXPORTER = """
import sys
sys.path.insert(1, {folder!r})
import boto3
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
tracer = trace.get_tracer("own")
s3 = boto3.client("s3")
def handler(event, context):
    with tracer.start_as_current_span("load order"):
        s3.get_object(Bucket="orders", Key="o-1")
        with tracer.start_as_current_span("inner"):
            pass
"""


def test_an_sdk_that_is_only_imported_leaves_the_spans_to_the_agent(start: Start, website: Website) -> None:
    source = NO_EXPORTER.format(folder=str(bundled("opentelemetry-sdk")))
    with start(source, variables={"AWS_ENDPOINT_URL": website.url}) as function:
        function.invoke()
        function.frames.wait_for(5, 1)
        frames = function.frames
    order, handler = frames.named("load order"), frames.named("app.handler")
    assert order.parent_span_id == handler.span_id
    assert {frames.named(name).parent_span_id for name in ("S3.GetObject", "inner")} == {order.span_id}


INSTRUMENTED = """
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
for instrumentor in (BotocoreInstrumentor, RequestsInstrumentor, URLLib3Instrumentor):
    instrumentor().instrument()
import boto3, requests, urllib3
s3 = boto3.client("s3")
pool = urllib3.PoolManager()
def handler(event, context):
    with tracer.start_as_current_span("around"):
        requests.get(event + "/requests")
        pool.request("GET", event + "/urllib3")
        s3.get_object(Bucket="orders", Key="o-1")
"""


def test_instrumentations_of_the_functions_own_record_each_call_once(start: Start, website: Website) -> None:
    with start(SDK + INSTRUMENTED, variables={"AWS_ENDPOINT_URL": website.url}) as function:
        function.invoke(website.url)
        function.frames.wait_for(5, 1)
        *calls, around, handler = function.frames.ended()
    assert [(call.kind, call.parent_span_id) for call in calls] == [(3, around.span_id)] * 3
    scopes = [attributes(call)["otel.scope.name"].rsplit(".", 1)[1] for call in calls]
    assert scopes == ["requests", "urllib3", "botocore"]
    assert around.parent_span_id == handler.span_id
    # The header of an AWS call names the span that stands for it.
    by_path = {path: headers for _, path, headers in website.requests}
    assert f"Parent={calls[2].span_id.hex()}" in by_path["/orders/o-1"]["x-amzn-trace-id"]


def test_with_a_provider_theirs_wins_and_nothing_is_recorded_twice(
    start: Start, website: Website, collector: Collector
) -> None:
    source = SDK + "provider = register()\n" + INSTRUMENTED + "    provider.force_flush()\n"
    with start(source, variables=endpoint(collector, AWS_ENDPOINT_URL=website.url)) as function:
        function.invoke(website.url)
        function.frames.wait_for(5, 1)
        (handler,) = function.frames.ended()
        spans = [collector._spans.get(timeout=BOUND_S) for _ in range(4)]
    *calls, around = spans
    assert (handler.name, around.parent_span_id) == ("app.handler", handler.span_id)
    assert [call.parent_span_id for call in calls] == [around.span_id] * 3
    assert [path for _, path, _ in website.requests] == ["/requests", "/urllib3", "/orders/o-1"]


SAMPLED = """
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased, ALWAYS_OFF, ALWAYS_ON
provider = register(sampler=ParentBased({sampler}))
def handler(event, context):
    with tracer.start_as_current_span("outer") as outer:
        with tracer.start_as_current_span("inner"):
            recorded = outer.is_recording()
    provider.force_flush()
    return recorded
"""


@pytest.mark.parametrize("decision", ["0", "1"])
@pytest.mark.parametrize("sampler", ["ALWAYS_ON", "ALWAYS_OFF", "TraceIdRatioBased(0)"])
def test_its_sampler_decides_as_without_the_layer(
    start: Start, collector: Collector, sampler: str, decision: str
) -> None:
    header = HEADER.replace("Sampled=1", f"Sampled={decision}")
    with start(SDK + SAMPLED.format(sampler=sampler), variables=endpoint(collector)) as function:
        assert function.invoke(header=header).json is (sampler == "ALWAYS_ON")
    spans = collector.take(2 if sampler == "ALWAYS_ON" else 0)
    if spans:
        assert spans["inner"].parent_span_id == spans["outer"].span_id
        assert spans["outer"].trace_id.hex() == TRACE


SUPPRESSED = """
import boto3
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
s3 = boto3.client("s3")
def call(url):
    urllib.request.urlopen(url).read()
    s3.get_object(Bucket="orders", Key="o-1")
def handler(event, _):
    if event["how"] == "all":
        with suppress_instrumentation():
            call(event["url"])
    elif event["how"] == "http":
        with suppress_http_instrumentation():
            call(event["url"])
    elif event["how"] == "left":
        context.attach(context.set_value("suppress_instrumentation", True))
        call(event["url"])
    else:
        call(event["url"])
"""


def test_what_is_suppressed_is_not_recorded_and_not_told(start: Start, website: Website) -> None:
    recorded = []
    with start(SDK + SUPPRESSED, variables={"AWS_ENDPOINT_URL": website.url}) as function:
        for count, how in enumerate(("all", "http", "left", "none")):
            before = len(function.frames.ended())
            function.invoke({"url": website.url, "how": how})
            function.frames.wait_for(5, count + 1)
            recorded.append([span.name for span in function.frames.ended()[before:-1]])
    # What a library has left attached does not keep the next invocation silent.
    assert recorded == [[], ["S3.GetObject"], [], ["GET", "S3.GetObject"]]
    assert "x-amzn-trace-id" not in website.requests[0][2]


CONTEXT = """
t = trace.get_tracer("shop")
remote = lambda: propagate.extract({"traceparent": "00-5759e988bd862e3fe1be46a9942727ff-53995c3f42cd8aff-01"})
def handler(event, _):
    seen = [trace.get_current_span().name, len(context.get_current())]
    with t.start_as_current_span("named parent", context=remote()):
        pass
    token = context.attach(remote())
    with t.start_as_current_span("attached parent"):
        pass
    urllib.request.urlopen(event).read()
    context.detach(token)
    with t.start_as_current_span("named current", context=context.get_current()):
        pass
    left = t.start_span("left")
    context.attach(trace.set_span_in_context(left))
    context.attach(remote())
    context.attach(context.set_value("baggage", {"a": 1}))
    return seen
"""


def test_a_parent_is_followed_within_an_invocation_and_reaches_no_other(start: Start, website: Website) -> None:
    with start(SDK + CONTEXT) as function:
        seen = []
        for _ in range(3):
            seen.append(function.invoke(website.url).json)
        function.frames.wait_for(5, 3)
        spans = function.frames.ended()
        assert "WARN" not in function.output()
    # The baggage stays, as it does without the layer.
    assert seen == [["app.handler", 1], ["app.handler", 2], ["app.handler", 2]]
    for at in range(0, 15, 5):
        named, attached, call, current, handler = spans[at : at + 5]
        assert handler.parent_span_id.hex() == HEADER.split("Parent=")[1][:16]
        for span in (named, attached, call):
            assert (span.trace_id.hex(), span.parent_span_id.hex()) == (
                "5759e988bd862e3fe1be46a9942727ff",
                "53995c3f42cd8aff",
            )
            assert span.flags == 0x301
        assert (current.trace_id, current.parent_span_id) == (handler.trace_id, handler.span_id)


OWN_CONTEXT = """
t = trace.get_tracer("shop")
def handler(event, _):
    own = trace.get_current_span().get_span_context()
    came = propagate.extract({"traceparent": f"00-{own.trace_id:032x}-53995c3f42cd8aff-01"})
    with t.start_as_current_span("named", context=came):
        pass
    token = context.attach(came)
    urllib.request.urlopen(event).read()
    context.detach(token)
"""


def test_p6_what_names_the_invocations_own_trace_is_a_part_of_the_invocation(start: Start, website: Website) -> None:
    with start(SDK + OWN_CONTEXT) as function:
        function.invoke(website.url)
        function.frames.wait_for(5, 1)
        named, call, handler = function.frames.ended()
    for span in (named, call):
        assert (span.trace_id, span.parent_span_id, span.flags) == (handler.trace_id, handler.span_id, 0x101)


LEFT_BY_SDK = """
provider = register()
stray = tracer.start_span("of the initialisation")
context.attach(trace.set_span_in_context(stray))
def handler(event, _):
    first = trace.get_current_span().name
    urllib.request.urlopen(event).read()
    context.attach(trace.set_span_in_context(tracer.start_span("left")))
    return first
"""


def test_a_span_of_the_sdk_that_is_left_attached_reaches_no_other_invocation(
    start: Start, website: Website, collector: Collector
) -> None:
    with start(SDK + LEFT_BY_SDK, variables=endpoint(collector)) as function:
        assert [function.invoke(website.url).json for _ in range(2)] == ["app.handler"] * 2
        function.frames.wait_for(5, 2)
        first, _, second, _ = spans = function.frames.ended()
    assert (first.parent_span_id, second.parent_span_id) == (spans[1].span_id, spans[3].span_id)
