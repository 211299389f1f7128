"""Makes calls under the OpenTelemetry SDK for Python, and prints one line of OTLP/JSON for each scenario."""

from __future__ import annotations

import base64
import json
import os
from contextlib import suppress
from typing import Any, Callable

import boto3
import flask
import psycopg2
import redis
import requests
from botocore.config import Config
from google.protobuf.json_format import MessageToDict
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.psycopg2 import Psycopg2Instrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

PORTS = json.loads(os.environ["ORACLE_PORTS"])
WEB = f"http://localhost:{PORTS['aws']}"
REFUSED = f"http://localhost:{PORTS['refused']}"
ID_FIELDS = ("traceId", "spanId", "parentSpanId")

spans = InMemorySpanExporter()


def aws(service: str) -> Any:
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, proxies={})
    return boto3.client(
        service,
        endpoint_url=WEB,
        region_name="eu-west-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
        config=config,
    )


def query(statement: str, *parameters: Any) -> None:
    connection = psycopg2.connect(
        host="localhost", port=PORTS["postgres"], user="app", password="secret", dbname="shop"
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
    connection.close()


def cache() -> redis.Redis:
    return redis.Redis(port=PORTS["redis"], protocol=2)


def pipeline() -> None:
    with cache().pipeline(transaction=False) as many:
        many.set("cart:7", "secret value")
        many.get("cart:7")
        many.execute()


def refused_redis() -> None:
    redis.Redis(port=PORTS["refused"], protocol=2, retry=None).get("cart:7")


def web() -> flask.testing.FlaskClient:
    """A client of an application, in this process: the spans are those of a real request."""
    app = flask.Flask("shop")
    app.logger.disabled = True
    app.add_url_rule("/cart/<int:number>", view_func=cart)
    FlaskInstrumentor().instrument_app(app)
    return app.test_client()


def cart(number: int) -> Any:
    if number == 0:
        raise ValueError("no cart")
    if number == 429:
        flask.abort(429)
    with trace.get_tracer("shop").start_as_current_span("price"):
        requests.get(f"{WEB}/200", timeout=5)
    return {"id": number}


def handled() -> None:
    """An exception with a cause, recorded by hand."""
    with trace.get_tracer("shop").start_as_current_span("load", attributes={"tags": ["a", "b"], "n": 7}) as current:
        current.add_event("cache miss", {"key": "cart:7"})
        try:
            raise KeyError("x")
        except KeyError as error:
            raise RuntimeError("outer") from error


SCENARIOS: dict[str, Callable[[], Any]] = {
    "botocore-dynamodb-get-item": lambda: aws("dynamodb").get_item(TableName="cart", Key={"id": {"S": "7"}}),
    "botocore-dynamodb-throttled": lambda: aws("dynamodb").put_item(TableName="cart", Item={"id": {"S": "7"}}),
    "botocore-dynamodb-batch": lambda: aws("dynamodb").batch_get_item(
        RequestItems={table: {"Keys": [{"id": {"S": "7"}}]} for table in ("cart", "user")}
    ),
    "botocore-s3-get-object": lambda: aws("s3").get_object(Bucket="bucket", Key="key")["Body"].read(),
    "botocore-s3-no-such-key": lambda: aws("s3").get_object(Bucket="bucket", Key="absent"),
    "botocore-sqs-send": lambda: aws("sqs").send_message(QueueUrl=f"{WEB}/123456789012/orders", MessageBody="b"),
    "botocore-sqs-receive": lambda: aws("sqs").receive_message(QueueUrl=f"{WEB}/123456789012/orders"),
    "botocore-sns-publish": lambda: aws("sns").publish(TopicArn="arn:aws:sns:eu-west-1:123456789012:t", Message="m"),
    "botocore-lambda-invoke": lambda: aws("lambda").invoke(FunctionName="tax", Payload=b"{}"),
    "botocore-secret": lambda: aws("secretsmanager").get_secret_value(SecretId="db"),
    "botocore-state-machine": lambda: aws("stepfunctions").start_execution(
        stateMachineArn="arn:aws:states:eu-west-1:123456789012:stateMachine:m", input="{}"
    ),
    "botocore-bedrock-converse": lambda: aws("bedrock-runtime").converse(
        modelId="anthropic.claude-v2", messages=[{"role": "user", "content": [{"text": "hi"}]}]
    ),
    "requests-get": lambda: requests.get(f"{WEB}/200?k=1", timeout=5),
    "requests-404": lambda: requests.get(f"{WEB}/404", timeout=5),
    "requests-503": lambda: requests.post(f"{WEB}/503", data="x", timeout=5),
    "requests-credentials": lambda: requests.get(f"http://anna:pass@localhost:{PORTS['aws']}/200", timeout=5),
    "requests-refused": lambda: requests.get(f"{REFUSED}/200", timeout=5),
    "psycopg2-select": lambda: query("SELECT id FROM cart WHERE id = %s AND name = 'x'", 7),
    "psycopg2-error": lambda: query("SELECT id FROM absent"),
    "redis-get": lambda: cache().get("cart:7"),
    "redis-set": lambda: cache().set("cart:7", "secret value"),
    "redis-pipeline": pipeline,
    "redis-error": lambda: cache().incr("cart:7"),
    "redis-refused": refused_redis,
    "flask-get": lambda: web().get("/cart/7?page=1", headers={"X-Forwarded-For": "203.0.113.9"}),
    "flask-error": lambda: web().get("/cart/0"),
    "flask-429": lambda: web().get("/cart/429"),
    "flask-404": lambda: web().get("/nowhere"),
    "sdk-exception": handled,
}


def record(name: str, run: Callable[[], Any]) -> None:
    spans.clear()
    if name.startswith("flask-") or name == "requests-get":
        # As roots: a server has no caller here, and one client span should be a root too.
        with suppress(Exception):
            run()
    else:
        with suppress(Exception), trace.get_tracer("shop").start_as_current_span("handler", kind=trace.SpanKind.SERVER):
            run()
    message = MessageToDict(encode_spans(spans.get_finished_spans()), use_integers_for_enums=True)
    print(json.dumps({"scenario": name, "request": hexadecimal(message)}), flush=True)


def hexadecimal(content: Any) -> Any:
    """OTLP/JSON writes ids as hex digits, not as base64."""
    if isinstance(content, list):
        return [hexadecimal(item) for item in content]
    if not isinstance(content, dict):
        return content
    return {
        key: base64.b64decode(item).hex() if key in ID_FIELDS else hexadecimal(item) for key, item in content.items()
    }


def main() -> None:
    # The instance is named, or the SDK draws a name by lot.
    resource = Resource.create({"service.name": "shop", "cloud.provider": "aws", "service.instance.id": "shop-1"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    for instrumentor in (BotocoreInstrumentor, RequestsInstrumentor, Psycopg2Instrumentor, RedisInstrumentor):
        instrumentor().instrument(skip_dep_check=True)
    for name, run in SCENARIOS.items():
        record(name, run)


if __name__ == "__main__":
    main()
