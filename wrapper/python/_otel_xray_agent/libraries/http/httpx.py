"""HTTP calls through httpx and httpx2, also asynchronous ones: one for each request that goes over the wire.

Called by the import hook with the module of the transports. Mocks and what answers in the process are no calls.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.http import CALL, call_of, describe, full_url, is_told_already, let_go

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span

_PORTS = {"http": 80, "https": 443}
_MODELS = ("/completions", "/responses", "/messages", "/embeddings", "Content", "Contents")
"""How paths end where a language model may be asked."""
_ANSWER = "_otel_xray_answer"
"""On a stream: what reads a model's answer along."""


def patch(module: ModuleType, recorder: Recorder) -> None:
    calls = Calls(recorder, module.__name__.partition(".")[0], "an HTTP call")

    def request(call: Call) -> str:
        asked = call.given(1, "request")
        describe(call.span, asked.method, *_place(asked))
        if asked.method == "POST" and asked.url.path.endswith(_MODELS):
            from _otel_xray_agent.libraries.models import over_http

            call.note = over_http.Answer if over_http.asks(call.span, asked) else None
        return str(asked.method)

    def carry(call: Call) -> None:
        """The request is the user's, who may send it again: what goes out is a twin of it (PL-61)."""
        if call.is_nested and is_told_already(call.span):
            return
        from _otel_xray_agent.libraries.http.propagation import with_trace

        asked, url = call.given(1, "request"), call.span.attributes.get("url.full")
        if call.is_nested:
            url = full_url(*_place(asked))
        twin = object.__new__(type(asked))
        twin.__dict__.update(asked.__dict__)
        twin.headers = with_trace(asked.headers, recorder, call.span, url)
        call.give(1, "request", twin)

    def tell(call: Call, response: Any, error: BaseException | None) -> bool:
        if error is not None or not answered(recorder, call.span, response, response.status_code):
            return False
        if call.note is not None:
            response.stream.__dict__[_ANSWER] = call.note(call.span, response)
        return True

    resume = calls.resumes(call_of, told=True)

    def reading(arguments: tuple[Any, ...], options: dict[str, Any]) -> Call | None:
        call = resume(arguments, options)
        answer = None if call is None else arguments[0].__dict__.get(_ANSWER)
        if answer is not None:
            call.see = answer.feed
        return call

    def over(call: Call, result: Any, error: BaseException | None) -> bool:
        answer = call.arguments[0].__dict__.pop(_ANSWER, None)
        if answer is not None:
            answer.over()
        return False

    read = calls.ends(lambda call, result, error: over(call, result, error) or error is None)
    for transport, send, stream, each, close in (
        ("HTTPTransport", "handle_request", "ResponseStream", "__iter__", "close"),
        ("AsyncHTTPTransport", "handle_async_request", "AsyncResponseStream", "__aiter__", "aclose"),
    ):
        calls.record(getattr(module, transport), send, request, tell, carry)
        calls.stand_in(getattr(module, stream), each, reading, read)
        calls.stand_in(getattr(module, stream), close, calls.leaves(let_go), calls.ends(over))


def answered(recorder: Recorder, span: Span, response: Any, status: int) -> bool:
    """The head is here: the call goes on until the stream below the response has been read or closed."""
    span.attributes["http.response.status_code"] = status
    stream = response.stream
    # A client's own goes around it.
    stream = getattr(stream, "_stream", stream)
    if not hasattr(stream, "_httpcore_stream"):
        return False
    stream.__dict__[CALL] = span
    recorder.set_aside(span, status)
    return True


def _place(request: Any) -> tuple[str, str, int | None, str]:
    url = request.url
    return url.scheme, url.host, url.port or _PORTS.get(url.scheme), url.raw_path.decode("ascii", "replace")
