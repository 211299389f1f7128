"""Spans, the clock and the entropy that they are made of, and what may be said of one: an event, an exception.

Plain data that the recorder makes and ends, that every room adds to, and that the encoder writes down.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Attributes = dict[str, Any]

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
