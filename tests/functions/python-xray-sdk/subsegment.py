"""A subsegment by hand, with an annotation and metadata, and one that fails."""

from __future__ import annotations

from typing import Any

from aws_xray_sdk.core import xray_recorder


class OutOfStock(Exception):
    """An item of the order is not there."""


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    with xray_recorder.in_subsegment("price") as subsegment:
        subsegment.put_annotation("order_id", event["id"])
        subsegment.put_metadata("order", {"items": event["items"]}, "shop")
    try:
        pack(event["items"])
    except OutOfStock:
        return {"packed": False}
    return {"packed": True}


@xray_recorder.capture("pack")
def pack(items: list[str]) -> None:
    if "broken" in items:
        raise OutOfStock("broken is out of stock")
