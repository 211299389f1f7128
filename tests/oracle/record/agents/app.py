"""What the Python agent is recorded in. Every name leads to the one server."""
# ruff: noqa: E402

import os
import socket
import sys
from typing import Any

sys.path.insert(1, os.environ["OPENTELEMETRY_API"])
PORT = int(os.environ["SERVER"].rpartition(":")[2])
socket.getaddrinfo = lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", PORT))]

import boto3
import requests
from opentelemetry import trace
from opentelemetry.trace import SpanKind

tracer = trace.get_tracer("shop.orders")
s3 = boto3.client("s3", endpoint_url="http://s3.eu-west-1.amazonaws.com")
secrets = boto3.client("secretsmanager", endpoint_url="http://secretsmanager.eu-west-1.amazonaws.com")

DATABASE = {
    "db.system.name": "postgresql",
    "db.namespace": "shop",
    "db.query.text": "SELECT total FROM orders WHERE id = $1",
    "server.address": "db.internal",
    "server.port": 5432,
}
BROKER = {"messaging.system": "kafka", "messaging.destination.name": "orders", "messaging.operation.type": "send"}


def handler(event: dict[str, Any], context: object) -> int:
    secrets.get_secret_value(SecretId="shop/db")
    s3.get_object(Bucket="orders", Key="42.json")
    requests.get("http://carrier.example.com/quotes?order=42")
    requests.get("http://stock.example.com/busy", headers={"host": "stock.example.com"})
    with tracer.start_as_current_span("SELECT shop", kind=SpanKind.CLIENT, attributes=DATABASE):
        pass
    with tracer.start_as_current_span("POST /orders", kind=SpanKind.SERVER, attributes={"http.route": "/orders"}):
        tracer.start_span("orders send", kind=SpanKind.PRODUCER, attributes=BROKER).end()
    with tracer.start_as_current_span("named", kind=SpanKind.CLIENT, attributes={"peer.service": "billing"}):
        pass
    with tracer.start_as_current_span("pack"):
        if "Records" in event:
            raise ValueError("shade is out of stock")
    return 42
