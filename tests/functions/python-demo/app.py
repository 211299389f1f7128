"""Ships an order: reads it from S3, asks a web page whether the carrier is there, and puts a message into a queue.

Nothing here turns tracing on. The one span made by hand shows that own instrumentation joins in: it becomes
a subsegment with an annotation and metadata.
"""

from __future__ import annotations

import json
import os
from typing import Any

import boto3
import requests
from opentelemetry import trace

s3 = boto3.client("s3")
sqs = boto3.client("sqs")
tracer = trace.get_tracer("python-demo")


class OutOfStock(Exception):
    """An item of the order is not there."""


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    body = s3.get_object(Bucket=os.environ["ORDERS_BUCKET"], Key=event["key"])["Body"].read()
    order = json.loads(body)
    carrier = requests.get(os.environ["CARRIER_URL"], timeout=5)
    with tracer.start_as_current_span("pack") as span:
        span.set_attributes({"order_id": order["id"], "aws.xray.annotations": ["order_id"]})
        span.set_attribute("aws.xray.metadata.order", json.dumps({"items": order["items"]}))
        packed = pack(order["items"], event.get("missing"))
    message = json.dumps({"order": order["id"], "packed": packed, "carrier": carrier.status_code})
    sqs.send_message(QueueUrl=os.environ["SHIPMENTS_QUEUE_URL"], MessageBody=message)
    return {"order": order["id"], "packed": packed}


def pack(items: list[dict[str, Any]], missing: str | None) -> int:
    for item in items:
        if item["sku"] == missing:
            raise OutOfStock(f"{missing} is out of stock")
    return sum(item["count"] for item in items)
