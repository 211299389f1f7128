"""What called the function: attributes of the handler's span, and the traces that the event comes from.

Loaded by ``bootstrap`` with the first event that looks like a service's. Nothing here walks a payload: a few lookups,
whatever the size.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _otel_xray_agent.triggers.trigger import Trigger


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
        from _otel_xray_agent.triggers import events

        found = events.of_event_bus(event)
    if found is None:
        from _otel_xray_agent.triggers import events

        found = events.of_state_machine(event)
    return found
