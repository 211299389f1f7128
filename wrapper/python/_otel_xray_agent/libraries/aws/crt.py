"""S3 transfers by the CRT client (``preferred_transfer_client="crt"``): each is a call that is over when its future is.

A botocore client only writes the request down there, and is answered by a made-up 200, which is none (PL-67).
"""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.http import CALL, call_of, let_go

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span


def patch(module: ModuleType, recorder: Recorder) -> None:
    calls = Calls(recorder, "botocore", "an S3 transfer")

    def submit(call: Call) -> str:
        operation = "".join(word.title() for word in str(call.given(1, "request_type")).split("_"))
        about = call.given(2, "call_args")
        attributes = call.span.attributes
        attributes.update({"rpc.system": "aws-api", "rpc.service": "S3", "rpc.method": operation})
        attributes["aws.s3.bucket"], attributes["aws.s3.key"] = about.bucket, about.key
        client = getattr(call.arguments[0]._s3_args_creator._request_serializer, "_client", None)
        if client is not None:
            attributes["cloud.region"] = client.meta.region_name
        return f"S3.{operation}"

    def submitted(call: Call, future: Any, error: BaseException | None) -> bool:
        """It runs in threads of its own."""
        if error is not None:
            return False
        coordinator = future._coordinator
        transfer = coordinator._crt_future
        if transfer is None:
            recorder.finish(call.span, call.token, coordinator._exception)
            return True
        # Whichever comes first: who waits for it may be the first to know.
        coordinator.__dict__[CALL] = call.span
        transfer.add_done_callback(lambda done: over(let_go(coordinator), done, done.exception()))
        return True

    def over(span: Span | None, transfer: Any, error: BaseException | None) -> None:
        if span is not None:
            status = getattr(transfer.exception(), "status_code", None)
            if isinstance(status, int) and status > 0:
                span.attributes["http.response.status_code"] = status
            recorder.finish(span, None, error)

    def awaited(call: Call, result: Any, error: BaseException | None) -> None:
        coordinator = call.arguments[0]
        # One that has not come in time goes on.
        if coordinator.done():
            over(let_go(coordinator), coordinator._crt_future, error)

    calls.record(module.CRTTransferManager, "_submit_transfer", submit, submitted)
    calls.stand_in(module.CRTTransferCoordinator, "result", calls.leaves(call_of), awaited)
