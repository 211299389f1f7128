"""A recorder's span as the OpenTelemetry API knows spans: what the function says of it is set on that.

Whatever a function hands over, nothing here raises: what cannot be understood is left out, and an attribute counted.
"""

from __future__ import annotations

from _otel_xray_agent.record import trace as spans
from _otel_xray_agent.record.wire import complain, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span

_FIRST_NS = 100_000_000_000_000_000
"""In 1973. Smaller ones are no nanoseconds, but seconds that somebody has taken for them."""


def span_class(trace: ModuleType, recorder: Recorder) -> Any:
    class BridgeSpan(trace.Span):  # type: ignore[misc, name-defined]
        def __init__(self, span: Span) -> None:
            self._span = span
            self._root = recorder.root or span

        def is_left(self) -> bool:
            """Whether it is of an invocation that is over."""
            return bool(self._root.end_ns)

        def get_span_context(self) -> Any:
            sampled = trace.TraceFlags.SAMPLED if self._span.flags & spans.SAMPLED else trace.TraceFlags.DEFAULT
            return trace.SpanContext(
                trace_id=int.from_bytes(self._span.trace_id, "big"),
                span_id=int.from_bytes(self._span.span_id, "big"),
                is_remote=False,
                trace_flags=trace.TraceFlags(sampled),
            )

        def is_recording(self) -> bool:
            return not self._span.end_ns

        # What spans of the SDK tell of themselves.

        @property
        def context(self) -> Any:
            return self.get_span_context()

        @property
        def name(self) -> str:
            return self._span.name

        @property
        def kind(self) -> Any:
            return trace.SpanKind(self._span.kind - 1)

        @property
        def attributes(self) -> dict[str, Any]:
            return dict(self._span.attributes)

        @property
        def start_time(self) -> int:
            return self._span.start_ns

        @property
        def end_time(self) -> int | None:
            return self._span.end_ns or None

        # What the function says of it.

        def end(self, end_time: int | None = None) -> None:
            # The handler's own span ends with the handler, and a library's with its call.
            if self._span is not recorder.root and self._span.outer is None:
                self._change(_end, recorder, end_time)

        def set_attribute(self, key: str, value: Any) -> None:
            self._change(set_attribute, key, value)

        def set_attributes(self, attributes: Any) -> None:
            self._change(set_attributes, attributes)

        def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
            self._change(_add_event, name, attributes, timestamp)

        def add_link(self, context: Any, attributes: Any = None) -> None:
            self._change(add_link, context, attributes)

        def update_name(self, name: str) -> None:
            self._change(_rename, name)

        def set_status(self, status: Any, description: str | None = None) -> None:
            self._change(_set_status, status, description)

        def record_exception(
            self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
        ) -> None:
            self._change(_record_exception, exception, attributes, timestamp)

        def _change(self, change: Any, *given: Any) -> None:
            if not self._span.end_ns:
                quietly(change, self._span, *given)

    return BridgeSpan


def quietly(change: Any, *given: Any) -> None:
    """Does it, if it can be done. Values of the function's may run code of its own, which may raise."""
    try:
        change(*given)
    except Exception as error:
        complain("opentelemetry", f"something that was said of a span could not be recorded: {told(error)}")


def nanoseconds(moment: Any) -> int:
    """A time as the function gives it; 0 where it is none."""
    if moment is None:
        return 0
    try:
        whole = int(moment)
    except Exception:  # no number, or one that is none
        return 0
    return whole if _FIRST_NS <= whole < 1 << 63 else 0


def name_of(name: Any) -> str:
    try:
        return str(name)
    except Exception:  # whatever the function's own code raises
        return type(name).__name__


def set_attribute(span: Span, key: Any, value: Any) -> None:
    attributes = span.attributes
    try:
        if key in attributes or len(attributes) < spans.MAX_ATTRIBUTES:
            # As it is now.
            attributes[key] = value.copy() if type(value) in (list, dict) else value
            return
    except Exception as error:  # it cannot be a key
        complain("opentelemetry", f"an attribute could not be recorded: {told(error)}")
    span.attributes_dropped += 1


def set_attributes(span: Span, attributes: Any) -> None:
    if attributes is None:
        return
    for key, value in attributes.items():
        set_attribute(span, key, value)


def add_link(span: Span, context: Any, attributes: Any = None) -> None:
    if context.is_valid and len(span.links or ()) < spans.MAX_LINKS:
        link = (context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big"), _copied(attributes))
        span.links = [*(span.links or []), link]


def _end(span: Span, recorder: Recorder, end_time: Any) -> None:
    span.end_ns = max(nanoseconds(end_time) or spans.now_ns(), span.start_ns)
    recorder.end_local(span)


def _add_event(span: Span, name: Any, attributes: Any, timestamp: Any) -> None:
    spans.add_event(span, name_of(name), _copied(attributes), nanoseconds(timestamp))


def _record_exception(span: Span, exception: Any, attributes: Any, timestamp: Any) -> None:
    spans.record_exception(span, exception, _copied(attributes), nanoseconds(timestamp))


def _rename(span: Span, name: Any) -> None:
    span.name = name_of(name)


def _set_status(span: Span, status: Any, description: Any) -> None:
    code = {"OK": spans.OK, "ERROR": spans.ERROR}.get(getattr(status, "status_code", status).name, 0)
    if not code or span.status == spans.OK:
        return
    span.status = code
    text = getattr(status, "description", None) or description or ""
    span.status_message = name_of(text) if code == spans.ERROR else ""


def _copied(attributes: Any) -> dict[Any, Any]:
    try:
        return dict(attributes or {})
    except Exception as error:  # what it belongs to is kept
        complain("opentelemetry", f"attributes could not be recorded: {told(error)}")
        return {}
