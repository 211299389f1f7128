"""What called the function: attributes of the handler's span, and the traces that the event comes from.

Loaded with the first event that looks like a service's. Nothing here walks a payload: a few lookups, whatever the size.
"""

from __future__ import annotations

from _otel_xray_agent.record.span import CONSUMER, SERVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from _otel_xray_agent.record.span import Attributes, Span
    from _otel_xray_agent.record.trace_header import TraceHeader

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


def read(event: dict[str, Any]) -> Trigger | None:
    """What the event says. None for an event that no service makes."""
    found = None
    if "requestContext" in event:
        from _otel_xray_agent.triggers import http

        found = http.read(event)
    elif "Records" in event or "records" in event:
        from _otel_xray_agent.triggers import messages

        found = messages.read(event)
    elif "detail-type" in event:
        found = _eventbridge(event)
    if found is None:
        found = _step_functions(event)
    return found


def _eventbridge(event: dict[str, Any]) -> Trigger | None:
    source, detail_type = text(event, "source"), text(event, "detail-type")
    if source is None or detail_type is None:
        return None
    attributes: Attributes = {"aws.eventbridge.source": source, "aws.eventbridge.detail_type": detail_type}
    if detail_type == "Scheduled Event":
        resources = event.get("resources")
        first = resources[0] if type(resources) is list and resources else None
        attributes["faas.trigger"] = "timer"
        attributes["faas.time"] = text(event, "time")
        attributes["aws.eventbridge.rule.arn"] = first if type(first) is str else None
        return Trigger(attributes)
    attributes.update(
        {
            "faas.trigger": "pubsub",
            "messaging.system": "aws.eventbridge",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.message.id": text(event, "id"),
        }
    )
    return Trigger(attributes, CONSUMER)


def _step_functions(event: dict[str, Any]) -> Trigger | None:
    """A state machine is known only where it passes its context object on, as the input or as a part of it."""
    for holder in (event, part(event, "Context"), part(event, "context")):
        machine = text(part(holder, "StateMachine"), "Id")
        execution = text(part(holder, "Execution"), "Id")
        if machine is None or execution is None:
            continue
        state = part(holder, "State")
        retries = state.get("RetryCount")
        return Trigger(
            {
                "faas.trigger": "other",
                "aws.step_functions.state_machine.arn": machine,
                "aws.step_functions.execution.arn": execution,
                "aws.step_functions.state.name": text(state, "Name"),
                "aws.step_functions.state.retry_count": retries if type(retries) is int else None,
            }
        )
    return None
