"""What all messages have that the function sends: what is sent where, and the trace among their headers.

A message is over when the broker has it. Nobody need wait for that: what has not been told when the handler ends was
over when it was sent.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.http.propagation import may_tell_anybody
from _otel_xray_agent.record.trace import PRODUCER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span


def describe(call: Call, system: str, destination: Any, operation: str = "send") -> str:
    call.span.kind = PRODUCER
    attributes = call.span.attributes
    attributes["messaging.system"] = system
    attributes["messaging.destination.name"] = str(destination) if destination else None
    attributes["messaging.operation.name"] = operation
    attributes["messaging.operation.type"] = "send"
    call.span.name = f"{operation} {destination}" if destination else operation
    return call.span.name


def about_kafka(call: Call, key: Any, value: Any, partition: Any) -> None:
    attributes = call.span.attributes
    if isinstance(key, (str, bytes, int)):
        attributes["messaging.kafka.message.key"] = (
            key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
        )
    if key is not None and value is None:
        attributes["messaging.kafka.message.tombstone"] = True
    if isinstance(partition, int) and partition >= 0:
        attributes["messaging.destination.partition.id"] = str(partition)


def trace_for(recorder: Recorder, span: Span, present: Any) -> list[tuple[str, str]]:
    """What is to be added to a message's headers; those that the function has set stay."""
    if not may_tell_anybody():
        return []
    names = {str(name).lower() for name in present}
    return [(name, value) for name, value in recorder.headers(span).items() if name.lower() not in names]
