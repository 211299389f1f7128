"""Calls through libraries: one span each, with what the call was about, and the trace handed on."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Start, Website
from stage import HEADER, attributes, bundled

BOTO = """
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
settings = Config(retries={"max_attempts": 1})
s3 = boto3.client("s3", config=settings)
sqs = boto3.client("sqs", config=settings)
def handler(event, context):
    s3.get_object(Bucket="orders", Key="o-1")
    try:
        s3.get_object(Bucket="orders", Key="missing")
    except ClientError as error:
        return error.response["Error"]["Code"]
"""


def test_aws_calls_a_20_a_27(start: Start, website: Website) -> None:
    # S3's bucket is in the path, and everything below /missing is a 404.
    source = BOTO.replace('Bucket="orders", Key="missing"', 'Bucket="missing", Key="x"')
    with start(source, variables={"AWS_ENDPOINT_URL": website.url, "_X_AMZN_TRACE_ID": ""}) as function:
        assert function.invoke().json == "404"
        function.frames.wait_for(5, 1)
        handler, found, missing = sorted(function.frames.ended(), key=lambda span: span.start_time_unix_nano)
    assert (found.name, found.kind, found.parent_span_id) == ("S3.GetObject", 3, handler.span_id)
    seen = attributes(found)
    expected = {
        "rpc.system": "aws-api",
        "rpc.service": "S3",
        "rpc.method": "GetObject",
        "cloud.region": "eu-west-1",
        "aws.s3.bucket": "orders",
        "aws.s3.key": "o-1",
        "http.response.status_code": 200,
    }
    assert expected.items() <= seen.items()
    assert (missing.status.code, attributes(missing)["aws.error.code"]) == (2, "404")
    assert attributes(missing.events[0])["exception.type"].endswith("ClientError")
    started = [span.name for span in function.frames.started()]
    assert started == ["app.handler", "S3.GetObject", "S3.GetObject"]
    # not botocore's own header, which names the function's parent; and not among what is signed.
    _, _, headers = website.requests[0]
    assert headers["x-amzn-trace-id"].split(";")[1] == f"Parent={found.span_id.hex()}"
    assert headers["x-amzn-trace-id"].split(";")[0] == HEADER.split(";")[0]
    # It would have to be signed.
    assert "traceparent" not in headers
    assert "x-amzn-trace-id" not in headers["authorization"].split("SignedHeaders=")[1].split(",")[0]


STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:orders"
ABOUT = {
    "kinesis by name": (
        "kinesis",
        "put_record(StreamName='clicks', Data=b'x', PartitionKey='p')",
        {"rpc.service": "Kinesis", "aws.kinesis.stream_name": "clicks"},
    ),
    "kinesis by arn": (
        "kinesis",
        f"put_record(StreamARN={STREAM!r}, Data=b'x', PartitionKey='p')",
        {"aws.kinesis.stream.arn": STREAM},
    ),
    "sqs": (
        "sqs",
        "send_message(QueueUrl='https://sqs/123456789012/orders', MessageBody='x')",
        {"aws.sqs.queue.url": "https://sqs/123456789012/orders"},
    ),
    "sns": ("sns", f"publish(TopicArn={TOPIC!r}, Message='x')", {"aws.sns.topic.arn": TOPIC}),
    "dynamodb": (
        "dynamodb",
        "get_item(TableName='carts', Key={'id': {'S': '1'}})",
        {"rpc.service": "DynamoDB", "aws.dynamodb.table_names": ["carts"]},
    ),
    "lambda": ("lambda", "invoke(FunctionName='price')", {"aws.lambda.function.name": "price"}),
}


@pytest.mark.parametrize("kind", ABOUT)
def test_an_aws_call_says_what_it_is_about(start: Start, website: Website, kind: str) -> None:
    service, call, expected = ABOUT[kind]
    source = (
        f"import boto3\nclient = boto3.client({service!r})\n"
        f"def handler(event, context):\n    try:\n        client.{call}\n    except Exception:\n        pass\n"
    )
    variables = {"AWS_ENDPOINT_URL": website.url, "AWS_MAX_ATTEMPTS": "1"}
    with start(source, variables=variables) as function:
        function.invoke()
        function.frames.wait_for(5, 1)
        about = attributes(function.frames.ended()[0])
    assert {key: about.get(key) for key in expected} == expected


HTTP = {
    "requests": "import requests\ndef get(url):\n    return requests.get(url).status_code\n",
    "urllib3": (
        "import urllib3\npool = urllib3.PoolManager()\ndef get(url):\n    return pool.request('GET', url).status\n"
    ),
    "urllib": (
        "from urllib.request import urlopen\nfrom urllib.error import HTTPError\n"
        "def get(url):\n    try:\n        return urlopen(url).status\n"
        "    except HTTPError as error:\n        return error.code\n"
    ),
    "http.client": (
        "import http.client\nfrom urllib.parse import urlsplit\n"
        "def get(url):\n    parts = urlsplit(url)\n    connection = http.client.HTTPConnection(parts.netloc)\n"
        "    connection.request('GET', parts.path + '?' + parts.query)\n    return connection.getresponse().status\n"
    ),
}
CALL = "def handler(event, context):\n    return get(event)\n"


@pytest.mark.parametrize("library", HTTP)
@pytest.mark.parametrize(("path", "status"), [("/v1?a=http://b/", 200), ("/missing?", 404)])
def test_http_calls_a_27(start: Start, website: Website, library: str, path: str, status: int) -> None:
    with start(HTTP[library] + CALL) as function:
        assert function.invoke(website.url + path).json == status
        function.frames.wait_for(5, 1)
        call, handler = function.frames.ended()
    assert (call.name, call.kind, call.parent_span_id) == ("GET", 3, handler.span_id)
    seen = attributes(call)
    assert seen["http.request.method"] == "GET"
    assert seen["http.response.status_code"] == status
    assert seen["url.full"].rstrip("?") == (website.url + path).rstrip("?")
    assert (seen["server.address"], seen["server.port"]) == ("127.0.0.1", int(website.url.rsplit(":", 1)[1]))
    headers = website.requests[0][2]
    assert headers["x-amzn-trace-id"] == HEADER.replace("53995c3f42cd8ad8", call.span_id.hex())


@pytest.mark.parametrize("library", HTTP)
def test_a_refused_connection_is_an_error_and_reads_as_without_the_layer(start: Start, library: str) -> None:
    answers = []
    for layer in (False, True):
        with start(HTTP[library] + CALL, layer=layer) as function:
            answer = function.invoke("http://127.0.0.1:9/x?")
            # Addresses of objects differ from process to process.
            kind, body = answer.comparable
            answers.append((kind, answer.json["errorType"], answer.json["stackTrace"]))
            assert kind == "error"
            assert "otel_xray" not in body
            if layer:
                function.frames.wait_for(5, 1)
                call, handler = function.frames.ended()
                assert (call.status.code, handler.status.code) == (2, 2)
                assert "refused" in attributes(call.events[0])["exception.message"]
    assert answers[0] == answers[1]


def test_redirects_are_one_call_and_the_users_own_headers_stay(start: Start, website: Website) -> None:
    source = (
        "import requests\ndef handler(event, context):\n    requests.get(event, headers={'X-Amzn-Trace-Id': 'mine'})\n"
    )
    with start(source) as function:
        function.invoke(website.url + "/moved")
        function.frames.wait_for(5, 1)
        # requests follows by itself, so each of its two requests is a call of its own; neither is seen twice.
        assert [span.name for span in function.frames.ended()] == ["GET", "GET", "app.handler"]
    assert [headers["x-amzn-trace-id"] for _, _, headers in website.requests] == ["mine", "mine"]


THREADS = """
import asyncio, concurrent.futures, urllib.request
def fetch(url):
    urllib.request.urlopen(url).read()
async def later(url):
    await asyncio.get_running_loop().run_in_executor(None, fetch, url)
def handler(event, context):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(fetch, [event, event]))
    asyncio.run(later(event))
"""


def test_a_25_work_in_threads_belongs_to_the_handler(start: Start, website: Website) -> None:
    with start(THREADS) as function:
        function.invoke(website.url)
        function.frames.wait_for(5, 1)
        *calls, handler = function.frames.ended()
    assert [call.parent_span_id for call in calls] == [handler.span_id] * 3


def test_disabled_instrumentations_are_left_alone(start: Start, website: Website) -> None:
    variables = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "urllib3, http.client"}
    with start(HTTP["requests"] + CALL, variables=variables) as function:
        function.invoke(website.url)
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]
    assert "x-amzn-trace-id" not in website.requests[0][2]


def test_a_31_imports_leave_no_trace_and_a_patch_that_fails_costs_one_line(start: Start) -> None:
    sources = {
        "urllib3/__init__.py": "",
        "urllib3/connectionpool.py": "broken = True\n",
        "space/inner.py": "x = 1\n",
        "app.py": (
            "import urllib3.connectionpool as pool, space\n"
            "def handler(event, context):\n"
            "    loaders = [type(pool.__loader__).__name__, type(pool.__spec__.loader).__name__]\n"
            "    return [*loaders, pool.broken, list(space.__path__) != []]\n"
        ),
    }
    with start(sources) as function:
        assert function.invoke().json == ["SourceFileLoader", "SourceFileLoader", True, True]
        lines = [line for line in function.output().splitlines() if line]
    assert len(lines) == 1
    assert "urllib3.connectionpool is not traced" in lines[0]


OTEL = """
from opentelemetry import trace
tracer = trace.get_tracer("shop.pricing", "2.1")
@tracer.start_as_current_span("decorated")
def work():
    current = trace.get_current_span()
    current.set_attribute("order.id", "o-1")
    current.set_attributes({"aws.xray.annotations": ["order.id"], "items": 3})
    current.add_event("priced", {"total": 12.5})
    with tracer.start_as_current_span("inner", kind=trace.SpanKind.CLIENT) as inner:
        return [inner.is_recording(), f"{inner.get_span_context().trace_id:032x}"]
def handler(event, context):
    trace.get_current_span().set_attribute("on", "the handler")
    manual = tracer.start_span("manual")
    manual.end()
    result = work()
    try:
        with tracer.start_as_current_span("failing"):
            raise ValueError("no price")
    except ValueError:
        pass
    return result
"""


@pytest.fixture(scope="session", params=["1.15.0", "newest"])
def opentelemetry_api(request: pytest.FixtureRequest) -> Path:
    """A copy of the API that the function bundles: the oldest that is supported, and the newest (A-24)."""
    return bundled(f"opentelemetry-api-{request.param}")


def test_a_14_a_24_manual_spans_join_whatever_version_the_function_bundles(
    start: Start, opentelemetry_api: Path
) -> None:
    source = f"import sys\nsys.path.insert(1, {str(opentelemetry_api)!r})\n" + OTEL
    with start(source) as function:
        answer = function.invoke().json
        function.frames.wait_for(5, 1)
        frames = function.frames
    handler = frames.named("app.handler")
    decorated, inner, manual = (frames.named(name) for name in ("decorated", "inner", "manual"))
    assert answer == [True, handler.trace_id.hex()]
    assert {span.trace_id for span in frames.ended()} == {handler.trace_id}
    assert (manual.parent_span_id, decorated.parent_span_id) == (handler.span_id, handler.span_id)
    assert inner.parent_span_id == decorated.span_id
    assert (decorated.kind, inner.kind) == (1, 3)
    seen = attributes(decorated)
    assert seen["aws.xray.annotations"] == ["order.id"]
    assert (seen["order.id"], seen["items"], seen["otel.scope.name"], seen["otel.scope.version"]) == (
        "o-1",
        3,
        "shop.pricing",
        "2.1",
    )
    assert (decorated.events[0].name, attributes(decorated.events[0])) == ("priced", {"total": 12.5})
    assert attributes(handler)["on"] == "the handler"
    failing = frames.named("failing")
    assert (failing.status.code, attributes(failing.events[0])["exception.message"]) == (2, "no price")
    assert handler.status.code == 0


def test_a_provider_of_the_functions_own_is_left_in_charge(start: Start, opentelemetry_api: Path) -> None:
    source = f"""
import sys
sys.path.insert(1, {str(opentelemetry_api)!r})
from opentelemetry import trace
class Mine(trace.TracerProvider):
    def get_tracer(self, *arguments, **options):
        return trace.NoOpTracer()
trace.set_tracer_provider(Mine())
tracer = trace.get_tracer("mine")
def handler(event, context):
    with tracer.start_as_current_span("theirs"):
        return type(trace.get_tracer_provider()).__name__
"""
    with start(source) as function:
        assert function.invoke().json == "Mine"
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]
        assert function.output() == ""


def test_a_27_one_span_for_a_call_also_where_the_api_is_loaded(
    start: Start, opentelemetry_api: Path, website: Website
) -> None:
    source = f"import sys\nsys.path.insert(1, {str(opentelemetry_api)!r})\nfrom opentelemetry import trace\n"
    with start(source + HTTP["requests"] + CALL) as function:
        function.invoke(website.url)
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["GET", "app.handler"]


def test_a_call_with_a_manual_span_around_it_hangs_below_that(
    start: Start, opentelemetry_api: Path, website: Website
) -> None:
    source = f"""
import sys
sys.path.insert(1, {str(opentelemetry_api)!r})
import urllib.request
from opentelemetry import trace
tracer = trace.get_tracer("mine")
def handler(event, context):
    with tracer.start_as_current_span("around"):
        urllib.request.urlopen(event).read()
"""
    with start(source) as function:
        function.invoke(website.url)
        function.frames.wait_for(5, 1)
        frames = function.frames
    assert frames.named("GET").parent_span_id == frames.named("around").span_id
