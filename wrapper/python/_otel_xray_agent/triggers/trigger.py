"""What an event says of itself, and the careful lookups by which it is read. Given to the recorder with the event."""

from __future__ import annotations

from _otel_xray_agent.record.trace import SERVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from _otel_xray_agent.record.trace import Attributes, Span, TraceHeader

MAX_PRODUCERS = 128
"""Traces that one event is linked to."""


class Trigger:
    """What an event says of itself."""

    __slots__ = ("answered", "attributes", "decides", "kind", "producers")

    def __init__(self, attributes: Attributes, kind: int = SERVER) -> None:
        self.attributes = attributes
        self.kind = kind
        self.producers: list[tuple[TraceHeader, Attributes]] = []
        """Where the event comes from, and what the link to there says."""
        self.decides = True
        """Whether a single producer's trace may go on here. Not for callers from outside."""
        self.answered: Callable[[Span, Any], None] | None = None
        """Looks at what the handler has returned."""


def text(holder: Any, key: str) -> str | None:
    """The text below the key, None for everything else: an event may hold anything anywhere."""
    value = holder.get(key)
    return value if type(value) is str and value else None


def part(holder: Any, key: str) -> dict[str, Any]:
    value = holder.get(key)
    return value if type(value) is dict else {}


def name_of(arn: str | None) -> str | None:
    """The last part of an ARN."""
    return arn.rpartition(":")[2] or None if arn else None
