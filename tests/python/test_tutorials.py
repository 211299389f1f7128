"""The functions that X-Ray's tutorials build, with nothing but the layer: what reaches the extension from each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Daemon, Start
from servers import Handler, serving
from stage import HEADER, PARENT, ROOT, attributes

FUNCTIONS = ROOT / "tests" / "functions"
CASES = ROOT / "tests" / "triggers" / "cases"


def sources(folder: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in (FUNCTIONS / folder).glob("*.py")}


def case(name: str) -> dict[str, Any]:
    return json.loads((CASES / f"{name}.json").read_text())


class Aws:
    """Answers what the functions ask of S3, Lambda and SQS, and keeps the requests' heads and bodies."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[dict[str, str], bytes]] = []

    def handler(self) -> type[Handler]:
        aws = self

        class Api(Handler):
            def do_GET(self) -> None:
                aws.requests.append(({name.lower(): value for name, value in self.headers.items()}, self.body()))
                self.answer(200, {"total": 6})

            do_POST = do_GET

        return Api


@pytest.fixture
def aws() -> Iterator[Aws]:
    aws = Aws()
    with serving(aws.handler()) as address:
        aws.url = f"http://{address}"
        yield aws


def test_patch_all_with_s3(start: Start, daemon: Daemon, aws: Aws) -> None:
    variables = daemon.variables(AWS_ENDPOINT_URL=aws.url, ORDERS_BUCKET="orders")
    with start(sources("python-xray-sdk"), handler="s3.handler", variables=variables) as function:
        assert function.invoke({"key": "o-1"}).json == {"bytes": 12}
        function.frames.wait_for(5, 1)
        (handler,) = function.frames.ended()
    s3 = daemon.take(1)["s3"]
    assert (s3["namespace"], s3["parent_id"]) == ("aws", handler.span_id.hex())
    assert (s3["aws"]["operation"], s3["aws"]["bucket_name"], s3["aws"]["key"]) == ("GetObject", "orders", "o-1")
    assert aws.requests[0][0]["x-amzn-trace-id"] == HEADER.replace(PARENT, s3["id"])


def test_subsegment_with_annotation_metadata_and_exception(start: Start, daemon: Daemon) -> None:
    variables = daemon.variables()
    with start(sources("python-xray-sdk"), handler="subsegment.handler", variables=variables) as function:
        assert function.invoke({"id": "o-1", "items": ["broken"]}).json == {"packed": False}
        function.frames.wait_for(5, 1)
        (handler,) = function.frames.ended()
    documents = daemon.take(2)
    price, pack = documents["price"], documents["pack"]
    assert price["parent_id"] == pack["parent_id"] == handler.span_id.hex()
    assert (price["annotations"], price["metadata"]) == (
        {"order_id": "o-1"},
        {"shop": {"order": {"items": ["broken"]}}},
    )
    assert (pack["fault"], pack["cause"]["exceptions"][0]["type"]) == (True, "OutOfStock")
    assert handler.status.code == 0


def test_one_function_invokes_another(start: Start, aws: Aws) -> None:
    variables = {"AWS_ENDPOINT_URL": aws.url, "CALLEE": "callee"}
    with start(sources("python-invoke"), handler="caller.handler", variables=variables) as function:
        assert function.invoke({"prices": [1, 2, 3]}).json == {"total": 6}
        function.frames.wait_for(5, 1)
        call, caller = function.frames.ended()
    header = aws.requests[0][0]["x-amzn-trace-id"]
    assert header == HEADER.replace(PARENT, call.span_id.hex())
    assert attributes(call)["aws.lambda.function.name"] == "callee"
    with start(sources("python-invoke"), handler="callee.handler") as function:
        assert function.invoke({"prices": [1, 2, 3]}, header=header).json == {"total": 6}
        function.frames.wait_for(5, 1)
        (callee,) = function.frames.ended()
    assert (callee.trace_id, callee.parent_span_id) == (caller.trace_id, call.span_id)


def test_messages_of_two_senders_and_their_consumer(start: Start, aws: Aws) -> None:
    variables = {"AWS_ENDPOINT_URL": aws.url, "QUEUE_URL": f"{aws.url}/123456789012/orders"}
    with start(sources("python-queue"), handler="sender.handler", variables=variables) as function:
        assert function.invoke({"items": [1, 2]}).json == {"sent": 2}
        function.frames.wait_for(5, 1)
        *sends, _ = function.frames.ended()
    # As SQS passes it on: the header of the request becomes an attribute of the message (SQS-1).
    headers = [head["x-amzn-trace-id"] for head, _ in aws.requests]
    event = case("sqs-several-producers")["event"]
    records = event["Records"] = event["Records"][:2]
    for record, header, body in zip(records, headers, ["1", "{"]):
        record["attributes"]["AWSTraceHeader"], record["body"] = header, body
    batch = HEADER.replace("5759e988", "6759e988")
    with start(sources("python-queue"), handler="consumer.handler") as function:
        failed = records[1]["messageId"]
        assert function.invoke(event, header=batch).json == {"batchItemFailures": [{"itemIdentifier": failed}]}
        function.frames.wait_for(5, 1)
        (consumer,) = function.frames.ended()
    assert [link.span_id for link in consumer.links] == [send.span_id for send in sends]
    assert {link.trace_id for link in consumer.links} == {sends[0].trace_id} != {consumer.trace_id}
    assert attributes(consumer)["aws.lambda.batch.failures"] == 1


@pytest.mark.parametrize(("order", "status", "code"), [("42", 200, 0), ("43", 404, 0), ("crash", 500, 2)])
def test_a_function_behind_api_gateway(start: Start, order: str, status: int, code: int) -> None:
    event = json.loads((FUNCTIONS / "python-api" / "event.json").read_text())
    event["pathParameters"]["id"] = order
    with start(sources("python-api")) as function:
        assert function.invoke(event).json["statusCode"] == status
        function.frames.wait_for(5, 1)
        (handler,) = function.frames.ended()
    assert (attributes(handler)["http.response.status_code"], handler.status.code) == (status, code)
    assert attributes(handler)["faas.trigger"] == "http"
