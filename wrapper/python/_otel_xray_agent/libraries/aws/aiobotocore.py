"""AWS calls through aiobotocore, and so through aioboto3 and s3fs: as botocore's, on top of aiohttp or httpx."""

from __future__ import annotations

from _otel_xray_agent.libraries import aws
from _otel_xray_agent.libraries.calls import Calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span


def patch_client(module: ModuleType, recorder: Recorder) -> None:
    aws.record(Calls(recorder, "aiobotocore", "an AWS call"), module.AioBaseClient, _below)


def patch_endpoint(module: ModuleType, recorder: Recorder) -> None:
    aws.carry(Calls(recorder, "aiobotocore", "an AWS call"), module.AioEndpoint)


def _below(recorder: Recorder, span: Span, response: dict[str, Any]) -> bool:
    """The function reads the answer's body from the response of aiohttp, or of httpx."""
    for value in response.values():
        # Before its third version a stream was a proxy of the response.
        raw = vars(value).get("_raw_stream") if hasattr(value, "__dict__") else None
        raw = raw or getattr(value, "__wrapped__", None)
        library = type(raw).__module__.partition(".")[0]
        status = span.attributes["http.response.status_code"]
        if library == "aiohttp":
            from _otel_xray_agent.libraries.http import aiohttp

            return aiohttp.answered(recorder, span, raw, status)
        if library in ("httpx", "httpx2"):
            from _otel_xray_agent.libraries.http import httpx

            return httpx.answered(recorder, span, raw, status)
    return False
