"""What the OpenTelemetry API holds as current, as the recorder knows spans, and the other way round.

The recorder asks which span of the function's own is around a call, and tells where an invocation begins and ends.
"""

from __future__ import annotations

from _otel_xray_agent.otel.span import span_class
from _otel_xray_agent.record import trace as spans
from _otel_xray_agent.record.wire import complain, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span

_HTTP = ("aiohttp-client", "http.client", "httpx", "httpx2", "urllib3")


class Stand(spans.Span):
    """Stands for a span of the function's own SDK, or of another process, as the parent of what happens in it.
    Never written."""

    __slots__ = ("is_remote",)

    def __init__(self, context: Any, held: Any, flags: int) -> None:
        self.trace_id = context.trace_id.to_bytes(16, "big")
        self.span_id = context.span_id.to_bytes(8, "big")
        self.is_remote = bool(context.is_remote)
        self.flags = flags
        kind = getattr(getattr(held, "kind", None), "value", None)
        self.kind = kind + 1 if isinstance(kind, int) else spans.INTERNAL
        attributes = getattr(held, "attributes", None)
        self.attributes = attributes if hasattr(attributes, "keys") else {}
        start_ns = getattr(held, "start_time", None)
        self.start_ns = start_ns if isinstance(start_ns, int) else 0
        self.end_ns = 0
        self.outer = None
        self.fold = False


class Bridge:
    """What the API holds in its contexts, and how it meets what the recorder holds."""

    def __init__(self, trace: ModuleType, recorder: Recorder) -> None:
        self._recorder = recorder
        self._contexts = trace.context_api
        self._api_current = trace.get_current_span
        self._put = trace.set_span_in_context
        self._span_key = trace.propagation._SPAN_KEY
        self._class = span_class(trace, recorder)
        self._silences: dict[Span, dict[str, Any]] = {}
        """What was in the context that an invocation began with, of what keeps instrumentations silent."""
        self.nothing = trace.INVALID_SPAN

    def is_own(self, span: Any) -> bool:
        return isinstance(span, self._class)

    def show(self, span: Span) -> Any:
        return self._class(span)

    def shown_for(self, held: Any) -> Any:
        """What the function is shown as current where the API holds this: its own always, else the innermost."""
        is_own = self.is_own(held)
        if not is_own and held is not self.nothing:
            return held
        try:
            current = self._recorder.current()
            if current is None:
                return self.nothing if is_own and held.is_left() else held
            # Not a subsegment of the X-Ray SDK: what is set on that would be set on nothing.
            current = getattr(current, "around", current)
            return held if (is_own and held._span is current) or isinstance(current, Stand) else self.show(current)
        except Exception as error:  # the function comes first
            complain("opentelemetry", f"the current span could not be found: {told(error)}")
            return held

    def held(self) -> tuple[Span | None, object]:
        """The span that the API holds as current, and a mark of it."""
        span = self._api_current()
        found = self._span_of(span)
        return found, span if found is not None else None

    def held_in(self, context: Any) -> Span | None:
        """The span in the context that the function names as where its span belongs."""
        return self._span_of(self._api_current(context))

    def is_silent(self, library: str) -> bool:
        """Whether OpenTelemetry says that calls are not to be recorded here, as an exporter does around its own."""
        for key, value in _silences(self._contexts.get_current()).items():
            if value and (key.startswith("suppress_instrumentation") or library in _HTTP):
                return True
        return False

    def entered(self, root: Span) -> None:
        """The invocation begins: in all that looks into the API's context, the handler's span is current."""
        held = self._contexts.get_current()
        self._silences[root] = _silences(held)
        self._contexts.attach(self._put(self.show(root), held))

    def left(self, root: Span) -> None:
        """What a library has left attached does not reach the next invocation."""
        held = self._contexts.get_current()
        silences = self._silences.pop(root, {})
        left = {self._span_key, *_silences(held)} - silences.keys()
        kept = {key: value for key, value in held.items() if key not in left}
        self._contexts.attach(type(held)({**kept, **silences}))

    def _span_of(self, held: Any) -> Span | None:
        if held is self.nothing:
            return None
        if self.is_own(held):
            return None if held.is_left() else held._span
        root = self._recorder.root
        if root is None:
            return None
        context = held.get_span_context()
        if not context.is_valid:
            return None
        # Where the invocation itself comes from: it is a part of that already.
        if context.is_remote and context.trace_id.to_bytes(16, "big") == root.trace_id:
            return None
        stand = Stand(context, held, root.flags & ~spans.REMOTE)
        # One that was there before is what somebody has left attached.
        return None if 0 < stand.start_ns < root.start_ns else stand


def _silences(context: Any) -> dict[str, Any]:
    """What keeps instrumentations silent. The names come with numbers that are others in each process, or without."""
    names = ("suppress_instrumentation", "suppress_http_instrumentation")
    return {key: value for key, value in context.items() if isinstance(key, str) and key.startswith(names)}
