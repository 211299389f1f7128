"""The OpenTelemetry API on top of the recorder: manual spans of the function join its trace.

Whatever version the function bundles, it is the function's own API that runs. Only the tracer behind its proxy is
replaced, so that a function which sets a tracer provider of its own gets exactly that one.
"""

from __future__ import annotations

import contextlib

from _otel_xray_agent import recorder as spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.recorder import Recorder, Span


def patch(trace: ModuleType, recorder: Recorder) -> None:
    api_current = trace.get_current_span
    bridge_span = _span_class(trace, recorder)

    def otel_current() -> tuple[Span | None, object]:
        held = api_current()
        return (held._span, held) if isinstance(held, bridge_span) else (None, None)

    def get_current_span(context: Any = None) -> Any:
        held = api_current(context)
        if held is not trace.INVALID_SPAN:
            return held
        current = recorder.current() if context is None else None
        # Not a subsegment of the X-Ray SDK: what is set on that would be set on nothing.
        return held if current is None else bridge_span(getattr(current, "around", current))

    tracer_class = _tracer_class(trace, recorder, bridge_span, api_current)
    original_init = trace.ProxyTracer.__init__

    def __init__(self: Any, *arguments: Any, **options: Any) -> None:
        original_init(self, *arguments, **options)
        names = ("instrumenting_module_name", "instrumenting_library_version")
        given = [*arguments, *(options.get(name) for name in names[len(arguments) :])]
        self._noop_tracer = tracer_class(given[0], given[1])

    trace.ProxyTracer.__init__ = __init__
    trace.get_current_span = get_current_span
    trace.propagation.get_current_span = get_current_span
    recorder.otel_current = otel_current


def _tracer_class(trace: ModuleType, recorder: Recorder, bridge_span: Any, api_current: Any) -> Any:
    # Newer versions have one of their own, which also decorates coroutines.
    context_manager = getattr(trace, "_agnosticcontextmanager", None) or contextlib.contextmanager

    class BridgeTracer(trace.NoOpTracer):  # type: ignore[misc, name-defined]
        """The no-op tracer, made to record."""

        def __init__(self, name: str | None, version: str | None) -> None:
            self._scope = {"otel.scope.name": name or None, "otel.scope.version": version or None}

        def start_span(
            self,
            name: str,
            context: Any = None,
            kind: Any = trace.SpanKind.INTERNAL,
            attributes: Any = None,
            links: Any = None,
            start_time: int | None = None,
            *arguments: Any,
            **options: Any,
        ) -> Any:
            span = recorder.child(str(name), kind.value + 1, start_time or 0)
            if span is None:
                return super().start_span(name, context)
            if context is not None:
                _set_parent(span, api_current(context), bridge_span)
            span.attributes.update(self._scope)
            made = bridge_span(span)
            if attributes:
                made.set_attributes(attributes)
            for link in links or ():
                made.add_link(link.context, link.attributes)
            if span.kind in (spans.CLIENT, spans.PRODUCER):
                recorder.announce(span)
            return made

        @context_manager
        def start_as_current_span(self, *arguments: Any, **options: Any) -> Any:
            end_on_exit = options.pop("end_on_exit", True)
            on_error = {name: options.get(name, True) for name in ("record_exception", "set_status_on_exception")}
            span = self.start_span(*arguments, **options)
            with trace.use_span(span, end_on_exit=end_on_exit, **on_error) as current:
                yield current

    return BridgeTracer


def _set_parent(span: Span, parent: Any, bridge_span: Any) -> None:
    """The parent that the caller named, for example one that came with a message."""
    if isinstance(parent, bridge_span):
        span.trace_id, span.parent_id = parent._span.trace_id, parent._span.span_id
        return
    context = parent.get_span_context()
    if context.is_valid:
        span.trace_id = context.trace_id.to_bytes(16, "big")
        span.parent_id = context.span_id.to_bytes(8, "big")
        if context.is_remote:
            span.flags |= spans.REMOTE if span.flags else 0


def _span_class(trace: ModuleType, recorder: Recorder) -> Any:
    class BridgeSpan(trace.Span):  # type: ignore[misc, name-defined]
        """A recorder's span, as the API knows spans."""

        def __init__(self, span: Span) -> None:
            self._span = span

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

        def end(self, end_time: int | None = None) -> None:
            # The handler's own span ends with the handler, and a library's with its call.
            if self._span.end_ns or self._span is recorder.root or self._span.outer is not None:
                return
            self._span.end_ns = end_time or spans.now_ns()
            recorder.end_local(self._span)

        def set_attribute(self, key: str, value: Any) -> None:
            attributes = self._span.attributes
            if self.is_recording() and (len(attributes) < spans.MAX_ATTRIBUTES or key in attributes):
                attributes[key] = value

        def set_attributes(self, attributes: Any) -> None:
            for key, value in attributes.items():
                self.set_attribute(key, value)

        def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
            if self.is_recording():
                spans.add_event(self._span, name, dict(attributes or {}), timestamp or 0)

        def add_link(self, context: Any, attributes: Any = None) -> None:
            if self.is_recording() and context.is_valid:
                link = (
                    context.trace_id.to_bytes(16, "big"),
                    context.span_id.to_bytes(8, "big"),
                    dict(attributes or {}),
                )
                self._span.links = [*(self._span.links or []), link]

        def update_name(self, name: str) -> None:
            if self.is_recording():
                self._span.name = str(name)

        def set_status(self, status: Any, description: str | None = None) -> None:
            if not self.is_recording() or self._span.status == spans.OK:
                return
            code = getattr(status, "status_code", status)
            self._span.status = {"OK": spans.OK, "ERROR": spans.ERROR}.get(code.name, 0)
            text = getattr(status, "description", None) or description or ""
            self._span.status_message = text if self._span.status == spans.ERROR else ""

        def record_exception(
            self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
        ) -> None:
            if self.is_recording():
                spans.record_exception(self._span, exception, dict(attributes or {}), timestamp or 0)

    return BridgeSpan
