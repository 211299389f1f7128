"""HTTP calls through aiohttp's client. Redirects are parts of a call, and each of its requests carries the trace.

Called by the import hook with the client's modules. What goes out is changed where all else has been said of it: what
the user hands over stays as it is (PL-62), and what has been signed on the way is seen.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.http import CALL, describe, is_told_already, let_go
from _otel_xray_agent.record.trace import SAMPLED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span

LIBRARY = "aiohttp-client"
_SWITCHING = 101


def patch(module: ModuleType, recorder: Recorder) -> None:
    def request(call: Call) -> str | None:
        session, method, url = call.arguments[0], str(call.given(1, "method")), call.given(2, "str_or_url")
        if any(_records_itself(config, call.span) for config in session._trace_configs):
            return None
        try:
            url = session._build_url(url)
        except (TypeError, ValueError):
            return method.upper()
        describe(call.span, method, url.scheme, url.host or "", url.port, url.raw_path_qs)
        return method.upper()

    def tell(call: Call, response: Any, error: BaseException | None) -> bool:
        if error is not None:
            return False
        if not response.history:
            # With the parameters that were given besides.
            asked = response.url
            describe(call.span, response.method, asked.scheme, asked.host or "", asked.port, asked.raw_path_qs)
        return answered(recorder, call.span, response, response.status)

    Calls(recorder, LIBRARY, "an HTTP call").record(module.ClientSession, "_request", request, tell)


def patch_requests(module: ModuleType, recorder: Recorder) -> None:
    calls = Calls(recorder, LIBRARY, "an HTTP call")

    def carry(call: Call) -> None:
        request = call.arguments[0]
        # A proxy is asked for a tunnel, and is nobody to tell.
        if request.method == "CONNECT" or is_told_already(call.span):
            return
        from _otel_xray_agent.libraries.http.propagation import put_trace

        put_trace(request.headers, recorder, call.span, str(request.url))

    def over(call: Call, result: Any, error: BaseException | None) -> None:
        recorder.finish(call.span, None, call.note)

    for owner in (module.ClientRequest, *module.ClientRequest.__bases__):
        calls.stand_in(owner, "send", calls.carries(carry, lambda: recorder.calling(LIBRARY)), calls.ends(None))
    for name in ("_response_eof", "close", "release"):
        calls.stand_in(module.ClientResponse, name, _leaves(calls), over)


def patch_streams(module: ModuleType, recorder: Recorder) -> None:
    """Where somebody waits for a body."""
    calls = Calls(recorder, LIBRARY, "an HTTP call")
    waited = calls.ends(lambda call, result, error: error is None)
    calls.stand_in(module.StreamReader, "_wait", calls.resumes(_read, told=True), waited)


def answered(recorder: Recorder, span: Span, response: Any, status: int) -> bool:
    """The head is here: the call goes on until the response is closed, as it is when all of its body has come."""
    span.attributes["http.response.status_code"] = status
    protocol = None if response.closed or status == _SWITCHING else response._protocol
    if protocol is None:
        return False
    # What reads knows the connection only, which has one response at a time.
    response.__dict__[CALL] = protocol.__dict__[CALL] = span
    recorder.set_aside(span, status)
    return True


def _records_itself(config: Any, span: Span) -> bool:
    """Whether the session's requests are recorded by OpenTelemetry's instrumentation, or by the X-Ray SDK's."""
    if getattr(config, "_is_instrumented_by_opentelemetry", False):
        return True
    xray = "aws_xray_sdk.ext.aiohttp.client"
    callbacks = config.on_request_start
    return bool(span.flags & SAMPLED) and any(getattr(one, "__module__", "") == xray for one in callbacks)


def _read(reader: Any) -> Span | None:
    # A server reads by the same class, from connections of its own.
    span: Span | None = getattr(reader._protocol, "__dict__", {}).get(CALL)
    return span


def _leaves(calls: Calls) -> Any:
    """The response is closed. What broke its body off is known only before that."""
    leave = calls.leaves(_left)

    def begin(arguments: tuple[Any, ...], options: dict[str, Any]) -> Call | None:
        call = leave(arguments, options)
        if call is not None:
            call.note = arguments[0].content.exception()
        return call

    return begin


def _left(response: Any) -> Span | None:
    span = let_go(response)
    if span is not None and response._protocol.__dict__.get(CALL) is span:
        del response._protocol.__dict__[CALL]
    return span
