"""Spans, the current span, and the trace they belong to."""

from __future__ import annotations

import os
import time
from _contextvars import ContextVar

from _otel_xray_agent.record import wire
from _otel_xray_agent.record.encoder import MAX_TEXT, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from _otel_xray_agent.otel.bridge import Bridge
    from _otel_xray_agent.triggers.trigger import Trigger

    Attributes = dict[str, Any]

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
OK, ERROR = 1, 2

SAMPLED, REMOTE_KNOWN, REMOTE = 0x1, 0x100, 0x200
MAX_ATTRIBUTES = 128
MAX_EVENTS = 128
MAX_LINKS = 128

_PROTOCOLS = ("http.request.method", "http.method", "rpc.system", "rpc.system.name", "db.system", "db.system.name")
"""One of these is on every span that OpenTelemetry's instrumentations make of a call."""


class Clock:
    """The time, whatever becomes of the module ``time``: what tests freeze must not date spans.

    Nothing that is replaced by name or in every module finds the functions here, and nobody freezes ``perf_counter``
    inside of it. That one stands still with the machine, so each invocation sets the clock anew.
    """

    __slots__ = ("_ahead_ns", "_steady_ns", "_wall_ns")

    def __init__(self) -> None:
        self._wall_ns = time.time_ns
        self._steady_ns = time.perf_counter_ns
        self.set()

    def set(self) -> None:
        """Takes the time of day, while no code of the function runs."""
        self._ahead_ns = self._wall_ns() - self._steady_ns()

    def now_ns(self) -> int:
        return self._steady_ns() + self._ahead_ns


clock = Clock()
now_ns = clock.now_ns


class Span:
    """One span. Plain data: the recorder does the work."""

    __slots__ = (
        "attributes",
        "attributes_dropped",
        "end_ns",
        "events",
        "flags",
        "kind",
        "links",
        "name",
        "outer",
        "parent_id",
        "span_id",
        "start_ns",
        "status",
        "status_message",
        "trace_id",
        "trace_state",
    )

    is_remote = False
    """Whether it is of another process, and only stands here as a parent."""

    def __init__(self, name: str, kind: int, trace_id: bytes, parent_id: bytes, flags: int, start_ns: int) -> None:
        self.name = name
        self.kind = kind
        self.trace_id = trace_id
        self.span_id = new_id(8)
        self.parent_id = parent_id
        self.flags = flags
        self.start_ns = start_ns
        self.end_ns = 0
        self.attributes: Attributes = {}
        self.attributes_dropped = 0
        self.events: list[tuple[str, int, Attributes]] | None = None
        self.links: list[tuple[bytes, bytes, Attributes]] | None = None
        self.status = 0
        self.status_message = ""
        self.trace_state = ""
        self.outer: object = None
        """On a library's call: what the OpenTelemetry API held as current when it began, False for nothing."""


def new_id(length: int) -> bytes:
    """Fresh entropy each time: ``random.seed()`` in user code and restored snapshots must not repeat ids."""
    made = os.urandom(length)
    return made if any(made) else new_id(length)


def new_trace_id() -> bytes:
    """With the time in front, where old tools look for it."""
    return (now_ns() // 1_000_000_000).to_bytes(4, "big") + new_id(12)


class TraceHeader:
    """A trace header, as far as it can be understood. Without a trace id it says nothing."""

    __slots__ = ("extra", "parent_id", "raw", "sampled", "trace_id")

    def __init__(self, raw: str) -> None:
        self.raw = raw
        self.trace_id = b""
        self.parent_id = b""
        self.sampled: str | None = None
        self.extra = ""
        for part in raw.split(";"):
            key, equals, value = part.strip().partition("=")
            if not equals:
                continue
            if key == "Root":
                self.trace_id = _trace_id(value)
            elif key == "Parent":
                self.parent_id = _hex(value, 8)
            elif key == "Sampled":
                self.sampled = value
            elif key != "Self":
                self.extra += f";{key}={value}"

    @classmethod
    def of_traceparent(cls, raw: str) -> TraceHeader:
        """What a W3C header says."""
        header = cls("")
        parts = raw.strip().split("-")
        if len(parts) >= 4 and len(parts[0]) == 2 and parts[0] != "ff":
            header.trace_id, header.parent_id = _hex(parts[1], 16), _hex(parts[2], 8)
            flags = parts[3]
            header.sampled = "1" if len(flags) == 2 and flags[1] in "13579bdf" else "0"
        return header

    def begin_trace(self) -> None:
        """A trace of its own."""
        self.trace_id = new_trace_id()
        self.parent_id = b""
        self.sampled = "1"
        self.extra = ""

    def outgoing(self, trace_id: bytes, span_id: bytes) -> str:
        """The header for a call made by the span: unknown fields and Lineage go on byte for byte."""
        root = trace_id.hex()
        text = f"Root=1-{root[:8]}-{root[8:]};Parent={span_id.hex()}"
        if self.sampled is not None:
            text += f";Sampled={self.sampled}"
        return text + self.extra


def _hex(text: str, length: int) -> bytes:
    try:
        value = bytes.fromhex(text) if len(text) == 2 * length else b""
    except ValueError:
        return b""
    # Blanks between the digits are read over.
    return value if len(value) == length and any(value) else b""


def _trace_id(text: str) -> bytes:
    parts = text.split("-")
    if len(parts) != 3 or parts[0] != "1" or len(parts[1]) != 8:
        return b""
    return _hex(parts[1] + parts[2], 16)


class Sampler:
    """Decides where neither Lambda nor a caller has, so that what the function calls is told.

    Without active tracing Lambda makes up ``Sampled=0`` (LAM-6). Whoever decides says yes now and then, so until a yes
    has been seen, a no is nobody's.
    """

    FIVE_PERCENT = b"\x0c\xcc\xcc\xcd"

    __slots__ = ("_decides", "_second", "_somebody_decides")

    def __init__(self, environ: Mapping[str, str]) -> None:
        blank = " \t\n\f\r"
        sampling = environ.get("OTEL_XRAY_SAMPLING", "").strip(blank).lower()
        mode = environ.get("OTEL_XRAY_TRACING_MODE", "").strip(blank).lower()
        self._decides = sampling not in ("respect", "off", "rules") and mode != "active"
        self._somebody_decides = False
        self._second = 0

    def is_ours(self, header: TraceHeader) -> bool:
        """Whether the decision on an invocation is left to the function."""
        if header.sampled == "1":
            self._somebody_decides = True
            return False
        return self._decides and not (header.sampled == "0" and self._somebody_decides)

    def decide(self, header: TraceHeader) -> None:
        """X-Ray's default rule: one a second, and 5 % of the others (SMP-15)."""
        second = now_ns() // 1_000_000_000
        is_first, self._second = second != self._second, second
        header.sampled = "1" if is_first or header.trace_id[12:] < self.FIVE_PERCENT else "0"


class Invocation:
    """One run of the handler. A runtime may have several at once, in threads."""

    __slots__ = ("header", "root")

    def __init__(self, root: Span, header: TraceHeader) -> None:
        self.root: Span | None = root
        """The handler's span while it runs."""
        self.header = header


class Recorder:
    """Keeps the current span of each context, and writes what happens to the wire."""

    def __init__(self, connection: wire.Wire, environ: Mapping[str, str]) -> None:
        self.wire = connection
        self._sampler = Sampler(environ)
        self._running: list[Invocation] = []
        self._here: ContextVar[Invocation | None] = ContextVar("otel_xray_invocation", default=None)
        self._current: ContextVar[Span | None] = ContextVar("otel_xray_span", default=None)
        self.otel: Bridge | None = None
        """Where the function has loaded the OpenTelemetry API."""
        self.follows_bodies = False
        """Whether the end of an answer's body is seen."""
        self._aside: dict[Span, tuple[int, Invocation | None]] = {}
        """Calls that nobody waits for, since when: sent, or answered and not read."""
        self.yielded: set[str] = set()
        """Libraries that an X-Ray SDK records, as far as it records anything (A-15)."""
        self.sdk_calls: ContextVar[bool] = ContextVar("otel_xray_sdk_calls", default=False)
        """Whether the subsegment that the SDK opens next is a library's call."""

    # The handler

    def invocation(self) -> Invocation | None:
        """The one that this context is in. Work without a context of its own belongs to the only one that runs."""
        here = self._here.get()
        if here is not None and here.root is not None:
            return here
        running = self._running[:2]
        return running[0] if len(running) == 1 else None

    @property
    def root(self) -> Span | None:
        """The handler's span while it runs."""
        invocation = self.invocation()
        return None if invocation is None else invocation.root

    @property
    def header(self) -> TraceHeader | None:
        invocation = self.invocation()
        return None if invocation is None else invocation.header

    def enter(
        self,
        name: str,
        raw_header: str,
        request_id: str,
        deadline_ms: int,
        attributes: Attributes,
        trigger: Trigger | None = None,
    ) -> bool:
        """The handler begins. False when there is nobody to record for."""
        clock.set()
        header = TraceHeader(raw_header)
        undecided = None
        if not header.trace_id:
            header.begin_trace()
        elif self._sampler.is_ours(header):
            undecided = header
        links = None
        if trigger is not None:
            attributes.update(trigger.attributes)
            producers = trigger.producers
            if producers:
                only = producers[0][0]
                if len(producers) == 1 and trigger.decides and only.sampled == "1" != header.sampled:
                    # Nobody traces the invocation itself: one message simply connects.
                    header = only
                else:
                    links = [
                        (producer.trace_id, producer.parent_id, said)
                        for producer, said in producers
                        if producer.trace_id != header.trace_id
                    ]
        if header is undecided:
            self._sampler.decide(header)
        flags = SAMPLED | REMOTE_KNOWN | REMOTE if header.sampled == "1" else 0
        kind = SERVER if trigger is None else trigger.kind
        span = Span(name, kind, header.trace_id, header.parent_id, flags, now_ns())
        span.attributes = attributes
        span.links = links
        encoded = self._encoded(span)
        invoke = wire.invoke_frame(request_id, raw_header, deadline_ms)
        if not encoded or not self.wire.begin(request_id, invoke, encoded):
            return False
        invocation = Invocation(span, header)
        self._running.append(invocation)
        self._here.set(invocation)
        self._current.set(span)
        self._tell_otel("entered", span)
        return True

    def leave(self, request_id: str, error: BaseException | None, seen_by_callers: Attributes | None = None) -> None:
        """The handler has ended. Everything is written before the runtime hears of it."""
        invocation = self._here.get()
        self._here.set(None)
        self._current.set(None)
        if invocation is None or invocation.root is None:
            return
        span, invocation.root = invocation.root, None
        self._running.remove(invocation)
        self._tell_otel("left", span)
        for call, (_, its) in list(self._aside.items()):
            if its is invocation:
                self.finish(call, None)
        if error is not None:
            record_exception(span, error, seen_by_callers)
            fail(span, error)
            if seen_by_callers:
                span.status_message = seen_by_callers["exception.message"][:1024]
        span.end_ns = now_ns()
        self._write(span, now=False)
        self.wire.done(request_id, raised=error is not None)

    def loading_failed(self, name: str, begun_ns: int, error: BaseException, seen_by_callers: Attributes) -> None:
        """The function could not be loaded. In a trace of its own: which invocation waits is not known here."""
        span = Span(name, INTERNAL, new_trace_id(), b"", SAMPLED | REMOTE_KNOWN, begun_ns)
        span.attributes = {"faas.coldstart": True}
        record_exception(span, error, seen_by_callers)
        span.status = ERROR
        span.status_message = str(seen_by_callers.get("exception.message") or message_of(error))[:1024]
        span.end_ns = now_ns()
        self._write(span, now=True)

    # Spans inside the handler

    def current(self) -> Span | None:
        """The innermost span of this context; the handler's where the context has none."""
        span = self._current.get()
        root = self.root
        if span is not None and (span.end_ns or root is None):
            span = None
        from_api, mark = self._held_by_otel()
        if from_api is not None and (span is None or span.outer is not mark):
            return from_api
        return root if span is None else span

    def child(self, name: str, kind: int, start_ns: int = 0, parent: Span | None = None) -> Span | None:
        """A new span below the current one, or the one that is named; none outside of an invocation."""
        parent = parent or self.current()
        if parent is None:
            return None
        flags = parent.flags & ~REMOTE
        if flags and parent.is_remote:
            flags |= REMOTE_KNOWN | REMOTE
        return Span(name, kind, parent.trace_id, parent.span_id, flags, start_ns or now_ns())

    def call(self, name: str, library: str = "") -> tuple[Span, Any] | None:
        """A call to something outside begins: it becomes current, and is announced because it may hang.

        None outside of an invocation, inside of another call, as the outermost library speaks for all, and where an
        X-Ray SDK records the library, or OpenTelemetry is told to record nothing.
        """
        parent = self.current()
        if parent is None or is_call(parent):
            return None
        if library in self.yielded and parent.flags & SAMPLED:
            return None
        if self.otel is not None and self.otel.is_silent(library):
            return None
        span = self.child(name, CLIENT, 0, parent)
        if span is None:
            return None
        return span, self.enclose(span)

    def enclose(self, span: Span) -> Any:
        """The span becomes current; what this gives makes the one before current again."""
        mark = self._held_by_otel()[1]
        span.outer = False if mark is None else mark
        return self._current.set(span)

    def disclose(self, span: Span, token: Any) -> None:
        """The span is over, and no longer current if it was."""
        if self._current.get() is span:
            try:
                self._current.reset(token)
            except (TypeError, ValueError):
                # Ended in another context than it began in, or as no longer current.
                self._current.set(None)

    def announce(self, span: Span) -> None:
        encoded = self._encoded(span)
        if encoded:
            self.wire.start(encoded)

    def set_aside(self, span: Span, status: int = 0) -> None:
        """Nobody waits for the call any more: it has been sent or, as the HTTP status says, answered.

        Only an answer is told to the extension: for what has been sent, most callers wait at once.
        """
        now = now_ns()
        self._aside[span] = now, self.invocation()
        if status:
            self.wire.answered(span.trace_id, span.span_id, now, status)

    def take_up(self, span: Span, *, told: bool = False) -> None:
        """Somebody waits for it again."""
        if self._aside.pop(span, None) is not None and told:
            self.wire.answered(span.trace_id, span.span_id, 0, 0)

    def finish(self, span: Span, token: Any, error: BaseException | None = None) -> None:
        """The call is over. One that nobody waited for was over when it was set aside, and with the handler's end."""
        since, _ = self._aside.pop(span, (0, None))
        if span.end_ns:
            return
        if error is not None:
            record_exception(span, error)
            fail(span, error)
            span.attributes.setdefault("error.type", type_name(error))
            since = 0
        span.end_ns = since or now_ns()
        self.disclose(span, token)
        self._write(span, now=True)

    def end_local(self, span: Span) -> None:
        self._write(span, now=span.kind in (CLIENT, PRODUCER))

    def _held_by_otel(self) -> tuple[Span | None, object]:
        if self.otel is not None:
            try:
                return self.otel.held()
            except Exception as error:  # a span of the function's own
                wire.complain("opentelemetry", f"the current span could not be found: {wire.told(error)}")
        return None, None

    def _tell_otel(self, what: str, root: Span) -> None:
        if self.otel is not None:
            try:
                getattr(self.otel, what)(root)
            except Exception as error:  # the invocation is recorded all the same
                wire.complain("opentelemetry", f"the current span could not be set: {wire.told(error)}")

    def _write(self, span: Span, *, now: bool) -> None:
        """A complete span. One that cannot be written is counted."""
        encoded = self._encoded(span)
        if encoded:
            self.wire.end(encoded, now=now)
        else:
            self.wire.spans_dropped += 1

    def _encoded(self, span: Span) -> bytes:
        """Empty where it cannot be encoded: a span holds what the function has handed over."""
        try:
            return encode(span)
        except Exception as error:
            wire.complain("encoder", f"a span could not be encoded and is lost: {wire.told(error)}")
            return b""

    # Going out

    def headers(self, span: Span) -> dict[str, str]:
        """What a call made by the span carries on."""
        header = self.header
        if header is None:
            return {}
        sampled = "01" if span.flags & SAMPLED else "00"
        return {
            "X-Amzn-Trace-Id": header.outgoing(span.trace_id, span.span_id),
            "traceparent": f"00-{span.trace_id.hex()}-{span.span_id.hex()}-{sampled}",
        }


def is_call(span: Span) -> bool:
    """Whether the span is a library's call, and so nothing inside is another: the agent's, or an instrumentation's."""
    if span.kind not in (CLIENT, PRODUCER):
        return False
    return span.outer is not None or any(name in span.attributes for name in _PROTOCOLS)


def type_name(error: BaseException) -> str:
    kind = type(error)
    module = kind.__module__
    return kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__qualname__}"


def fail(span: Span, error: BaseException) -> None:
    span.status = ERROR
    span.status_message = message_of(error)


def message_of(error: BaseException) -> str:
    try:
        return str(error)[:1024]
    except Exception:  # a broken __str__ of the user's
        return ""


def record_exception(span: Span, error: BaseException, attributes: Attributes | None = None, time_ns: int = 0) -> None:
    """Adds the exception, with its stack and those it came from, as an event."""
    import traceback

    try:
        stack = "".join(traceback.format_exception(type(error), error, without_own_frames(error.__traceback__)))
    except Exception:  # a broken __str__ of the user's
        stack = ""
    if len(stack) > MAX_TEXT:
        # Both ends matter: where it began, and what it was.
        half = MAX_TEXT // 2 - 20
        stack = f"{stack[:half]}\n  ...\n{stack[-half:]}"
    event = {
        "exception.type": type_name(error),
        "exception.message": message_of(error),
        "exception.stacktrace": stack,
    }
    if attributes:
        event.update(attributes)
    add_event(span, "exception", event, time_ns)


def add_event(span: Span, name: str, attributes: Attributes, time_ns: int = 0) -> None:
    if span.events is None:
        span.events = []
    if len(span.events) < MAX_EVENTS:
        span.events.append((name, time_ns or now_ns(), attributes))


_OWN = __file__.rpartition("/record/")[0] + "/"


def without_own_frames(trace: Any) -> Any:
    """A traceback as it would be without the agent. The user's exceptions are shown to the user."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN):
        trace = trace.tb_next
    entry = trace
    while entry is not None:
        following = entry.tb_next
        while following is not None and following.tb_frame.f_code.co_filename.startswith(_OWN):
            following = following.tb_next
        entry.tb_next = following
        entry = following
    return trace
