"""A function that ends as its event says."""

from __future__ import annotations

import os
import time
from typing import Any


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    if "exit" in event:
        os._exit(event["exit"])
    if "sleep_s" in event:
        time.sleep(event["sleep_s"])
    return {"pid": os.getpid(), "trace": os.environ.get("_X_AMZN_TRACE_ID")}
