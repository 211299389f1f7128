"""Beside other tools: answers and the tool's own data are as without the layer, and each call is recorded once."""

from __future__ import annotations

import pytest
from conftest import Start, Website
from stage import bundled

CALLS = """
import boto3, requests, urllib.request
from botocore.config import Config
s3 = boto3.client("s3", config=Config(retries={"max_attempts": 1}))
def calls(url, context=None):
    urllib.request.urlopen(url + "/urllib").read()
    requests.get(url + "/requests")
    s3.get_object(Bucket="orders", Key="o-1")["Body"].read()
    try:
        requests.get("http://127.0.0.1:9/refused")
    except requests.ConnectionError as error:
        return [type(error).__name__]
"""

# Each hands out a handler whose answer is what the tool has recorded, without what differs from run to run.
TOOLS = {
    "sentry": """
import sentry_sdk
envelopes = []
class Transport(sentry_sdk.transport.Transport):
    def capture_envelope(self, envelope):
        envelopes.append(envelope)
sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Transport, traces_sample_rate=1.0)
def handler(event, context):
    with sentry_sdk.start_transaction(op="function", name="shop") as transaction:
        top = transaction.span_id
        answer = calls(event)
        sentry_sdk.capture_exception(ValueError("no price"))
    sentry_sdk.flush()
    seen = []
    for envelope in envelopes:
        for item in envelope.items:
            payload = item.payload.json or {}
            crumbs = [crumb["category"] for crumb in payload.get("breadcrumbs", {}).get("values", [])]
            spans = [[span["op"], span["description"], span.get("status"), span["parent_span_id"] == top]
                     for span in payload.get("spans", [])]
            errors = [error["type"] for error in payload.get("exception", {}).get("values", [])]
            seen.append([item.type, spans, crumbs, errors])
    return [answer, seen]
""",
    "ddtrace": """
from ddtrace import patch
from ddtrace.trace import tracer
kept = []
original = tracer.start_span
def start_span(*arguments, **options):
    kept.append(original(*arguments, **options))
    return kept[-1]
tracer.start_span = start_span
patch(requests=True, botocore=True, httplib=True, urllib3=True)
def handler(event, context):
    kept.clear()
    with tracer.trace("shop") as root:
        answer = calls(event)
    names = {span.span_id: span.name for span in kept}
    seen = [[span.name, span.resource, span.error, span.finished, names.get(span.parent_id)] for span in kept]
    return [answer, seen, {span.trace_id for span in kept} == {root.trace_id}]
""",
    "elastic": """
import elasticapm
from elasticapm.transport.base import Transport
class Kept(Transport):
    events = []
    def queue(self, event_type, data, flush=False):
        self.events.append([event_type, data])
client = elasticapm.Client(service_name="shop", transport_class="app.Kept", central_config=False, cloud_provider="none",
                           metrics_interval="0s")
elasticapm.instrument()
def handler(event, context):
    client.begin_transaction("function")
    answer = calls(event)
    client.end_transaction("shop", "success")
    seen = []
    for kind, data in Kept.events:
        if kind in ("span", "transaction", "error"):
            seen.append([kind, data.get("name"), data.get("outcome"), data.get("type")])
    return [answer, seen]
""",
    "lumigo": """
from lumigo_tracer import lumigo_tracer, wrappers
from lumigo_tracer.lambda_tracer import lambda_reporter
reported = []
def report_json(region, msgs, is_start_span=False):
    reported.extend(msgs)
    return 0
lambda_reporter.report_json = report_json
wrappers.wrap()
def handler(event, context):
    reported.clear()
    answer = lumigo_tracer(token="t_0123456789")(calls)(event, context)
    seen = []
    for span in reported:
        http = span.get("info", {}).get("httpInfo", {})
        request, response = http.get("request", {}), http.get("response", {})
        seen.append([span["type"], request.get("method"), request.get("uri"), response.get("statusCode")])
    return [answer, seen]
""",
}


@pytest.mark.parametrize("tool", TOOLS)
def test_answers_and_the_tools_data_are_as_without_the_layer_and_each_call_is_recorded_once(
    start: Start, website: Website, tool: str
) -> None:
    packages = bundled("beside")
    if tool == "ddtrace" and not (packages / tool).exists():
        pytest.skip("it has no release for this version of Python")
    source = f"import sys\nsys.path.insert(1, {str(packages)!r})\n" + TOOLS[tool] + CALLS
    variables = {"AWS_ENDPOINT_URL": website.url, "AWS_LAMBDA_FUNCTION_NAME": "shop", "DD_TRACE_AGENT_URL": website.url}
    answers = []
    for layer in (False, True):
        with start(source, layer=layer, variables=variables) as function:
            answers.append([function.invoke(website.url).json for _ in range(2)])
            if layer:
                function.frames.wait_for(5, 2)
                spans = function.frames.ended()
                assert "[otel-xray]" not in function.output()
    without, with_layer = answers
    assert with_layer == without
    # The refused call, and what the tool has seen.
    answer, seen, *_ = without[0]
    assert answer == ["ConnectionError"]
    assert len(seen) >= 2
    once = ["GET", "GET", "S3.GetObject", "GET", "app.handler"]
    assert [span.name for span in spans] == once * 2
