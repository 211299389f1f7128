"""Events of EventBridge, and what a state machine passes on of itself.

The room's door gives an event and gets a trigger.
"""

from __future__ import annotations

from _otel_xray_agent.record.trace import CONSUMER
from _otel_xray_agent.triggers.trigger import Trigger, part, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _otel_xray_agent.record.trace import Attributes


def of_event_bus(event: dict[str, Any]) -> Trigger | None:
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


def of_state_machine(event: dict[str, Any]) -> Trigger | None:
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
