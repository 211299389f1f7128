"""gRPC: calls and streams of its channels. A stream is over when its status is here. No message is looked at."""

from __future__ import annotations

from _weakref import ref

from _otel_xray_agent.libraries.calls import Call, Calls
from _otel_xray_agent.libraries.http.propagation import may_tell
from _otel_xray_agent.record.trace import ERROR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span

_BLOCKING = {
    "_UnaryUnaryMultiCallable": ("__call__", "with_call"),
    "_StreamUnaryMultiCallable": ("__call__", "with_call"),
}
_GOING_ON = {
    "_UnaryUnaryMultiCallable": ("future",),
    "_StreamUnaryMultiCallable": ("future",),
    "_UnaryStreamMultiCallable": ("__call__",),
    "_SingleThreadedUnaryStreamMultiCallable": ("__call__",),
    "_StreamStreamMultiCallable": ("__call__",),
}
_ASYNC = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")
_WAITING = "_otel_xray_waiting"
"""On what a call that goes on gives: what is to be called when it is over."""
_TARGET = "_otel_xray_target"
"""On a channel of ``grpc.aio``: where it leads, which it tells nobody."""


def patch(module: ModuleType, recorder: Recorder) -> None:
    """Of ``grpc._channel``."""

    def begin(call: Call) -> str:
        own = call.arguments[0]
        return _describe(recorder, call, own._method, own._channel.target())

    def answered(call: Call, result: Any, error: BaseException | None) -> bool:
        code = getattr(error, "code", None)
        name = "OK" if error is None else code().name if callable(code) else None
        if _note(call.span, name):
            return False
        recorder.finish(call.span, call.token)
        return True

    def going_on(call: Call, rendezvous: Any, error: BaseException | None) -> bool:
        if error is not None:
            return answered(call, None, error)
        # Not its own way to call back, which would keep it: one that is dropped is cancelled.
        state = rendezvous._state
        waiting = vars(rendezvous)[_WAITING] = [calls.later(call, lambda span: _note_end(span, state))]
        if not rendezvous.add_callback(lambda: _settle(state, waiting)):
            _settle(state, waiting)
        return True

    calls = Calls(recorder, "grpc_client", "a gRPC call")
    for seams, tell in ((_BLOCKING, answered), (_GOING_ON, going_on)):
        for kind, methods in seams.items():
            for method in methods:
                if kind in vars(module):
                    calls.record(vars(module)[kind], method, begin, tell)
    # Whoever waits may go on before the channel's own thread has called back.
    for kind in ("_SingleThreadedRendezvous", "_MultiThreadedRendezvous"):
        for method in ("_next", "result"):
            if kind in vars(module):
                calls.stand_in(vars(module)[kind], method, _waits, _has_waited)


def patch_async(module: ModuleType, recorder: Recorder) -> None:
    """Of ``grpc.aio._channel``: each call is an object, whether it is waited for or read from."""

    def opens(arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        target = arguments[1] if len(arguments) > 1 else options.get("target", "")
        arguments[0].__dict__[_TARGET] = target

    def begin(call: Call) -> str:
        own = call.arguments[0]
        channel = own._references[0] if own._references else None
        return _describe(recorder, call, own._method, getattr(channel, _TARGET, ""))

    def made(call: Call, going: Any, error: BaseException | None) -> bool:
        if error is not None:
            return False
        # Nothing here may keep it: one that is dropped is cancelled.
        dropped = ref(going)
        over = calls.later(call, lambda span, *_: _note_async(span, dropped()))
        getattr(going, "_cython_call", going).add_done_callback(over)
        return True

    calls = Calls(recorder, "grpc_aio_client", "a gRPC call")
    calls.stand_in(module.Channel, "__init__", opens, lambda *_: None)  # type: ignore[arg-type]
    for kind in _ASYNC:
        calls.record(vars(module)[f"{kind}MultiCallable"], "__call__", begin, made)


def _describe(recorder: Recorder, call: Call, method: Any, target: Any) -> str:
    name = call.span.name = _text(method).lstrip("/")
    host, port = _address(_text(target))
    attributes = call.span.attributes
    attributes["rpc.system.name"] = "grpc"
    attributes["rpc.method"] = name
    attributes["server.address"] = host
    attributes["server.port"] = port
    if may_tell(f"https://{host}" if port is None else f"https://{host}:{port}"):
        call.options = {**call.options, "metadata": _with_trace(recorder, call)}
        # By its place: what stands in front of it is a request and a timeout.
        if len(call.arguments) > 3:
            call.arguments = (*call.arguments[:3], call.options.pop("metadata"), *call.arguments[4:])
    return name


def _with_trace(recorder: Recorder, call: Call) -> tuple[Any, ...]:
    given = call.arguments[3] if len(call.arguments) > 3 else call.options.get("metadata")
    pairs = tuple(given or ())
    names = {str(pair[0]).lower() for pair in pairs}
    headers = {name.lower(): value for name, value in recorder.headers(call.span).items()}
    return (*pairs, *((name, value) for name, value in headers.items() if name not in names))


def _waits(arguments: tuple[Any, ...], options: dict[str, Any]) -> Call | None:
    return Call(None, None, arguments, options) if _WAITING in vars(arguments[0]) else None  # type: ignore[arg-type]


def _has_waited(call: Call, result: Any, error: BaseException | None) -> None:
    rendezvous = call.arguments[0]
    _settle(rendezvous._state, vars(rendezvous)[_WAITING])


def _settle(state: Any, waiting: list[Any]) -> None:
    """The call is over if it has its status: once, whoever sees it first."""
    while state.code is not None and waiting:
        try:
            over = waiting.pop()
        except IndexError:  # another thread has
            return
        over()


def _address(target: str) -> tuple[str, int | None]:
    """Of ``host:port``, ``dns:host:port``, ``dns://authority/host:port``, ``ipv6:[::1]:port`` and ``unix:/path``."""
    scheme, colon, rest = target.partition(":")
    if not (colon and (scheme in ("dns", "ipv4", "ipv6", "unix", "passthrough") or rest.startswith("//"))):
        rest = target
    elif rest.startswith("//"):
        rest = rest[2:].partition("/")[2]
    host, _, port = rest.rpartition(":")
    if not host or not port.isdecimal() or (":" in host and not host.endswith("]")):
        host, port = rest, ""
    return host.strip("[]"), int(port) if port else None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _note(span: Span, code: str | None) -> bool:
    """Whether that is a failure: what the function has broken off is none."""
    span.attributes["rpc.response.status_code"] = code
    is_failed = code not in ("OK", "CANCELLED")
    if is_failed and code is not None:
        span.attributes["error.type"] = code
    return is_failed


def _note_end(span: Span, state: Any) -> None:
    if _note(span, state.code.name):
        span.status = ERROR
        span.status_message = _text(state.details or "")[:1024]


def _note_async(span: Span, going: Any) -> None:
    code = "CANCELLED" if going is None else getattr(_now(going.code()), "name", None)
    if _note(span, code):
        span.status = ERROR
        span.status_message = str(_now(going.details()) or "")[:1024]


def _now(coroutine: Any) -> Any:
    """What is known already, of a coroutine that would wait for it."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    return None
