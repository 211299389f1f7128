"""What models answer through Bedrock's runtime, by botocore's parsed responses and the events of their streams.

A call that is answered with events lasts to the end of them (PL-68). Read with the first answer of the service.
"""

from __future__ import annotations

from functools import partial

from _otel_xray_agent.libraries.http import CALL, call_of, let_go
from _otel_xray_agent.libraries.models import INPUT_TOKENS, OUTPUT_TOKENS, look, look_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call, Calls
    from _otel_xray_agent.record.trace import Span

_COUNTED = (
    ("x-amzn-bedrock-input-token-count", INPUT_TOKENS),
    ("x-amzn-bedrock-output-token-count", OUTPUT_TOKENS),
)


def answered(calls: Calls, span: Span, response: dict[str, Any]) -> bool:
    """What the answer says. Whether there are events of it to come."""
    look(span.attributes, response)
    metadata = response.get("ResponseMetadata") or {}
    headers = metadata.get("HTTPHeaders") or {}
    for header, attribute in _COUNTED:
        tokens = str(headers.get(header, ""))
        if tokens.isascii() and tokens.isdecimal() and len(tokens) < 19:
            span.attributes.setdefault(attribute, int(tokens))
    for value in response.values():
        if hasattr(type(value), "_parse_event"):
            _watch(calls, type(value))
            value.__dict__[CALL] = span
            status = metadata.get("HTTPStatusCode")
            calls.recorder.set_aside(span, status if isinstance(status, int) else 0)
            return True
    return False


def _watch(calls: Calls, stream: type) -> None:
    """Patches botocore's ``EventStream``, or aiobotocore's on top of it."""
    resume = calls.resumes(call_of, told=True)

    def reading(arguments: tuple[Any, ...], options: dict[str, Any]) -> Call | None:
        call = resume(arguments, options)
        if call is not None:
            call.see = partial(_see, calls, call.span)
        return call

    for owner in stream.__mro__:
        each = "__anext__" if "__anext__" in vars(owner) else "__iter__"
        calls.stand_in(owner, each, reading, calls.ends(None))
        calls.stand_in(owner, "close", calls.leaves(let_go), calls.ends(None))


def _see(calls: Calls, span: Span, event: Any) -> None:
    try:
        _look_at(span, event)
    except Exception as error:  # the call comes first
        calls.complain("could not be told what its model says of itself", error)


def _look_at(span: Span, event: dict[str, Any]) -> None:
    piece = event.get("chunk")
    if piece is None:
        look(span.attributes, event)
    elif isinstance(piece, dict) and isinstance(piece.get("bytes"), bytes):
        look_in(span.attributes, piece["bytes"])
