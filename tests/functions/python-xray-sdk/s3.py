"""The X-Ray SDK's first example: everything patched, and a call to S3."""

from __future__ import annotations

import os
from typing import Any

import boto3
from aws_xray_sdk.core import patch_all

patch_all()
s3 = boto3.client("s3")


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    found = s3.get_object(Bucket=os.environ["ORDERS_BUCKET"], Key=event["key"])
    return {"bytes": len(found["Body"].read())}
