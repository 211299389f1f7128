from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Tracer

tracer = Tracer(service="orders")


@tracer.capture_method
def price(items: list[str]) -> int:
    tracer.put_annotation("items", len(items))
    if "broken" in items:
        raise ValueError("broken has no price")
    return 100 * len(items)


@tracer.capture_lambda_handler
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    tracer.put_metadata("order", event)
    return {"order": event["id"], "total": price(event["items"])}
