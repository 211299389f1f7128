"""What a trace is made of: ids, time, spans and what may be said of one, the header, and who samples where it does not.

Plain data that the recorder makes and ends, that every room adds to, and that the encoder writes down.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal, Protocol

    Attributes = dict[str, Any]

    class Fold(Protocol):
        """Like calls that one span stands for."""

        span: Span

        def take(self, call: Span) -> None: ...
        def add(self, call: Span, error: BaseException | None) -> bool: ...
        def end(self) -> Span | None: ...


INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
OK, ERROR = 1, 2

SAMPLED, REMOTE_KNOWN, REMOTE = 0x1, 0x100, 0x200
MAX_ATTRIBUTES = 128
MAX_EVENTS = 128
MAX_LINKS = 128
MAX_TEXT = 16_384
"""Characters of one attribute's text that are sent."""

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
        "fold",
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
        self.fold: Fold | Literal[False] | None = False
        """Which calls it is folded with, False where it stands for itself; of a library's call None until known."""


def new_id(length: int) -> bytes:
    """Fresh entropy each time: ``random.seed()`` in user code and restored snapshots must not repeat ids."""
    made = os.urandom(length)
    return made if any(made) else new_id(length)


def new_trace_id() -> bytes:
    """With the time in front, where old tools look for it."""
    return (now_ns() // 1_000_000_000).to_bytes(4, "big") + new_id(12)


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
