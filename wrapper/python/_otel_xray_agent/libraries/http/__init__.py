"""HTTP calls, whichever library makes them: what is asked, and that they last until the answer is read or closed.

A call whose head is here waits only while somebody reads; one that is never read was answered when its head came. The
libraries on top of ``http.client`` all read from its response.
"""

from __future__ import annotations

from _otel_xray_agent.record.wire import complain, told
from _otel_xray_agent.unseen import leave_unseen, named_as, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span

CALL = "_otel_xray_call"
"""On what a body is read from, as on ``http.client``'s response: the span of the call, while there is more of it."""

_READING = ("read", "readinto", "read1", "readline", "peek")


def call_of(read: Any) -> Span | None:
    """The call that what is read from belongs to, while it goes on."""
    span: Span | None = read.__dict__.get(CALL)
    return span


def let_go(read: Any) -> Span | None:
    """The same, which is over with that: whoever comes next finds none."""
    span: Span | None = read.__dict__.pop(CALL, None)
    return span


def full_url(scheme: str, host: str, port: int | None, target: str) -> str:
    """Without user and password. ``target`` is what the request line says, or a whole URL."""
    if target.startswith("/") or "://" not in target:
        shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
        default = {"http": 80, "https": 443}.get(scheme)
        return f"{scheme}://{shown}{'' if port in (None, default) else f':{port}'}{target}"
    before, _, after = target.partition("://")
    authority, slash, path = after.partition("/")
    return f"{before}://{authority.rpartition('@')[2]}{slash}{path}"


def describe(span: Span, method: Any, scheme: str, host: str, port: int | None, target: str) -> None:
    """Name and attributes of an HTTP call. The extension masks what is secret in the URL."""
    span.name = str(method)
    span.attributes["http.request.method"] = str(method).upper()
    span.attributes["server.address"] = host
    span.attributes["server.port"] = port
    span.attributes["url.full"] = full_url(scheme, host, port, target)


def is_told_already(span: Span) -> bool:
    """AWS's SDKs put the trace into a request before they sign it."""
    return span.attributes.get("rpc.system") == "aws-api"


def answered(recorder: Recorder, span: Span, response: Any, status: Any) -> bool:
    """The head of the answer is here: whether the call goes on, until its body has been read or closed.

    ``response`` is ``http.client``'s; None where it is another's.
    """
    span.attributes["http.response.status_code"] = status
    if not recorder.follows_bodies or response is None or response.isclosed() or response.length == 0:
        return False
    response.__dict__[CALL] = span
    recorder.set_aside(span, status if isinstance(status, int) else 0)
    return True


def follow(response: Any, recorder: Recorder) -> None:
    """Patches ``http.client.HTTPResponse``."""
    replaced = {name: _reading(vars(response)[name], recorder) for name in _READING if name in vars(response)}
    replaced["_close_conn"] = _closing(response._close_conn, recorder)
    replace(response, **replaced)
    recorder.follows_bodies = True


def follow_chunks(module: ModuleType, recorder: Recorder) -> None:
    """urllib3 reads what comes in chunks past the methods of the response below."""
    response = module.HTTPResponse
    original = response._error_catcher

    def _error_catcher(self: Any) -> Any:
        try:
            below = getattr(self, "_original_response", None)
            span = call_of(below) if below is not None else None
            if span is not None:
                recorder.take_up(span, told=True)
        except Exception as error:  # the call comes first
            complain("bodies", f"how long an answer takes could not be recorded: {told(error)}")
        return original(self)

    replace(response, _error_catcher=_error_catcher)


def _reading(original: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    def read(self: Any, *arguments: Any, **options: Any) -> Any:
        span = call_of(self)
        if span is not None:
            recorder.take_up(span, told=True)
        try:
            return original(self, *arguments, **options)
        except BaseException as error:
            span = let_go(self)
            if span is not None:
                recorder.finish(span, None, error)
            leave_unseen(error)
            raise

    return named_as(read, original)


def _closing(original: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    def _close_conn(self: Any) -> None:
        span = let_go(self)
        try:
            original(self)
        except BaseException as error:
            leave_unseen(error)
            raise
        finally:
            if span is not None:
                recorder.finish(span, None)

    return named_as(_close_conn, original)
