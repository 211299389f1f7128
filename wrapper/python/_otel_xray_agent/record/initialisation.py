"""Calls while the function was loaded (PL-82), kept until its first invocation says whether it has paid for them.

Loaded with the first of them. Until then they have no trace, and nobody that they reach is told of one.
"""

from __future__ import annotations

from _otel_xray_agent.record.trace import REMOTE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _otel_xray_agent.record.trace import Span

MAX_CALLS = 64
AHEAD_NS = 1_000_000_000
"""An initialisation that ended longer than this before an invocation was not waited for (L-8.3): it ran ahead of time,
or is that of a snapshot."""


class Initialisation:
    __slots__ = ("calls", "missed")

    def __init__(self) -> None:
        self.calls: list[Span] = []
        """Begun, and maybe ended."""
        self.missed = 0
        """Those that there was no room for."""

    def keep(self, span: Span) -> None:
        if len(self.calls) < MAX_CALLS:
            self.calls.append(span)
        else:
            self.missed += 1

    def below(self, parent: Span) -> list[Span]:
        """The calls, in the trace that they are found to belong to."""
        for call in self.calls:
            call.trace_id, call.parent_id, call.flags = parent.trace_id, parent.span_id, parent.flags & ~REMOTE
        return self.calls

    def is_paid_by(self, handler: Span, loaded_ns: int) -> bool:
        return not loaded_ns or handler.start_ns - loaded_ns <= AHEAD_NS
