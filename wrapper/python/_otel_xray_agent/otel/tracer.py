"""The OpenTelemetry API on top of the recorder: spans of the function and of the agent hang on one another.

Whatever version the function bundles, it is the function's own API that runs. Only the tracer behind its proxy is
replaced, so that a function which sets a tracer provider of its own gets exactly that one. Called by the import hook.
"""

from __future__ import annotations

import contextlib
import sys

from _otel_xray_agent.otel.bridge import Bridge
from _otel_xray_agent.otel.span import add_link, name_of, nanoseconds, quietly, set_attributes
from _otel_xray_agent.record.trace import CLIENT, INTERNAL, PRODUCER, message_of
from _otel_xray_agent.record.wire import complain, told
from _otel_xray_agent.unseen import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder


def patch(trace: ModuleType, recorder: Recorder) -> None:
    bridge = Bridge(trace, recorder)
    current = current_class(trace, bridge)
    tracer = tracer_class(trace, recorder, bridge, current)
    original_init = trace.ProxyTracer.__init__
    original_current, original_use = trace.get_current_span, trace.use_span

    def __init__(self: Any, *arguments: Any, **options: Any) -> None:
        original_init(self, *arguments, **options)
        names = ("instrumenting_module_name", "instrumenting_library_version")
        given = [*arguments, *(options.get(name) for name in names[len(arguments) :])]
        self._noop_tracer = tracer(given[0], given[1])

    def get_current_span(context: Any = None) -> Any:
        held = original_current(context)
        return bridge.shown_for(held) if context is None else held

    def use_span(
        span: Any, end_on_exit: bool = False, record_exception: bool = True, set_status_on_exception: bool = True
    ) -> Any:
        if bridge.is_own(span):
            # The API's own writes out the exception, whose text may not be had.
            return current(lambda: span, end_on_exit, record_exception, set_status_on_exception)
        return original_use(span, end_on_exit, record_exception, set_status_on_exception)

    replace(trace.ProxyTracer, __init__=__init__)
    replace(trace, get_current_span=get_current_span, use_span=use_span)
    trace.propagation.get_current_span = trace.get_current_span
    recorder.otel = bridge
    # Without spans of the function's own, all that a thread does belongs to the handler.
    recorder.watch("threading", ("threading", "libraries.threads", "patch"))
    recorder.watch("concurrent.futures.thread", ("threading", "libraries.threads", "patch_pools"))
    root = recorder.root
    if root is not None:
        bridge.entered(root)


def leave_sampling(sampling: ModuleType, recorder: Recorder) -> None:
    """The SDK's samplers decide as if there were no parent where that is the agent's: whether the function's spans are
    sampled is nothing that X-Ray decides."""
    parent = sampling.get_current_span

    def get_current_span(context: Any = None) -> Any:
        found = parent(context)
        bridge = recorder.otel
        return bridge.nothing if bridge is not None and bridge.is_own(found) else found

    sampling.get_current_span = get_current_span


def tracer_class(trace: ModuleType, recorder: Recorder, bridge: Bridge, current: Any) -> Any:
    kinds = {id(kind): kind.value + 1 for kind in trace.SpanKind}

    class BridgeTracer(trace.NoOpTracer):  # type: ignore[misc, name-defined]
        def __init__(self, name: Any, version: Any) -> None:
            given = {"otel.scope.name": name, "otel.scope.version": version}
            named = {key: name_of(value) for key, value in given.items() if value is not None}
            self._scope = {key: value for key, value in named.items() if value}

        def start_span(
            self,
            name: str,
            context: Any = None,
            kind: Any = trace.SpanKind.INTERNAL,
            attributes: Any = None,
            links: Any = None,
            start_time: int | None = None,
            record_exception: bool = True,
            set_status_on_exception: bool = True,
        ) -> Any:
            parent = _parent(bridge, context)
            span = recorder.child(name_of(name), kinds.get(id(kind), INTERNAL), nanoseconds(start_time), parent)
            if span is None:
                return super().start_span(name, context)
            span.attributes.update(self._scope)
            quietly(set_attributes, span, attributes)
            quietly(_add_links, span, links)
            if span.kind in (CLIENT, PRODUCER):
                recorder.announce(span)
            return bridge.show(span)

        def start_as_current_span(
            self,
            name: str,
            context: Any = None,
            kind: Any = trace.SpanKind.INTERNAL,
            attributes: Any = None,
            links: Any = None,
            start_time: int | None = None,
            record_exception: bool = True,
            set_status_on_exception: bool = True,
            end_on_exit: bool = True,
        ) -> Any:
            def begin() -> Any:
                return self.start_span(name, context, kind, attributes, links, start_time)

            return current(begin, end_on_exit, record_exception, set_status_on_exception)

    return BridgeTracer


def current_class(trace: ModuleType, bridge: Bridge) -> Any:
    """What makes a span current, as a context manager and a decorator like the API's own.

    No generator, through which the function's exceptions would have to go.
    """
    module = sys.modules.get("opentelemetry.util._decorator")
    # Newer versions have one of their own, which also decorates coroutines.
    base = getattr(module, "_AgnosticContextManager", contextlib._GeneratorContextManager)

    class Current(base):  # type: ignore[misc, valid-type]
        def __init__(self, begin: Callable[[], Any], ends: bool, records: bool, sets_status: bool) -> None:
            self._given = (begin, ends, records, sets_status)

        def _recreate_cm(self) -> Current:
            return type(self)(*self._given)

        def __enter__(self) -> Any:
            self._span = self._given[0]()
            self._token = trace.context_api.attach(trace.set_span_in_context(self._span))
            return self._span

        def __exit__(self, kind: Any, error: Any, trace_back: Any) -> bool:
            _, ends, records, sets_status = self._given
            trace.context_api.detach(self._token)
            span = self._span
            # Others are no errors, such as the end of a generator.
            if isinstance(error, Exception) and bridge.is_own(span):
                if records:
                    span.record_exception(error)
                if sets_status:
                    description = f"{type(error).__name__}: {message_of(error)}"
                    span.set_status(trace.Status(trace.StatusCode.ERROR, description))
            if ends:
                span.end()
            return False

    return Current


def _parent(bridge: Bridge, context: Any) -> Any:
    try:
        return None if context is None else bridge.held_in(context)
    except Exception as error:  # it belongs to what is current
        complain("opentelemetry", f"the parent that a span was given could not be found: {told(error)}")
        return None


def _add_links(span: Any, links: Any) -> None:
    for link in links or ():
        quietly(_add_one, span, link)


def _add_one(span: Any, link: Any) -> None:
    add_link(span, link.context, link.attributes)
