"""Answers requests that come through API Gateway, a function URL or a load balancer."""

from __future__ import annotations

import json
from typing import Any

ORDERS = {"42": {"items": 3}}


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    wanted = (event.get("pathParameters") or {}).get("id", "")
    if wanted == "crash":
        return {"statusCode": 500, "body": "something broke"}
    order = ORDERS.get(wanted)
    if order is None:
        return {"statusCode": 404, "body": "no such order"}
    return {"statusCode": 200, "body": json.dumps(order)}
