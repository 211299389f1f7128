"""Kafka through confluent-kafka, whose producer is a type in C: a subclass of it stands in its place.

Called with the module in C, from which the package takes the type and derives others.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.messages import about_kafka, describe, trace_for
from _otel_xray_agent.unseen import leave_unseen, named_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span

_CALLED = "_otel_xray_on_delivery"
"""On a producer: what its settings say is to be called for messages that name nothing themselves."""
_PARAMETERS = ("topic", "value", "key", "partition", "callback", "on_delivery", "timestamp", "headers")


def patch(module: ModuleType, recorder: Recorder) -> None:
    def produce(call: Call) -> str:
        own, *given = call.arguments
        options = {**dict(zip(_PARAMETERS, given)), **call.options}
        name = describe(call, "kafka", options.get("topic"))
        about_kafka(call, options.get("key"), options.get("value"), options.get("partition"))
        present = options.get("headers")
        pairs = list(present.items()) if isinstance(present, dict) else list(present or ())
        added = trace_for(recorder, call.span, [pair[0] for pair in pairs])
        if added:
            options["headers"] = [*pairs, *added]
        theirs = options.pop("callback", None)
        theirs = theirs or options.get("on_delivery") or getattr(own, _CALLED, None)
        options["on_delivery"] = _on_delivery(calls.later(call, delivered), theirs)
        call.arguments, call.options = (own,), options
        return name

    def produced(call: Call, result: Any, error: BaseException | None) -> bool:
        """One that is refused will not be delivered."""
        return error is None

    def delivered(span: Span, error: Any, message: Any) -> BaseException | None:
        if error is not None:
            span.attributes["error.type"] = error.name()
            failed: BaseException = module.KafkaException(error)
            return failed
        span.attributes["messaging.destination.partition.id"] = str(message.partition())
        span.attributes["messaging.kafka.offset"] = message.offset()
        return None

    calls = Calls(recorder, "confluent_kafka", "a Kafka message")
    standing = _subclass(module.Producer)
    calls.record(standing, "produce", produce, produced)
    module.Producer = standing  # type: ignore[attr-defined]


def _subclass(original: Any) -> Any:
    def __init__(self: Any, *arguments: Any, **options: Any) -> None:
        try:
            original.__init__(self, *arguments, **options)
        except BaseException as error:
            leave_unseen(error)
            raise
        settings = {**(arguments[0] if arguments and isinstance(arguments[0], dict) else {}), **options}
        setattr(self, _CALLED, settings.get("on_delivery"))

    body = {
        "__slots__": (_CALLED,),
        "__module__": original.__module__,
        "__doc__": original.__doc__,
        "__init__": named_as(__init__, original.__init__),
        "produce": original.produce,
    }
    return type(original.__name__, (original,), body)


def _on_delivery(over: Callable[..., None], theirs: Any) -> Callable[[Any, Any], Any]:
    """Called where the function polls or flushes, in the place of what it wants to be called."""

    def on_delivery(error: Any, message: Any) -> Any:
        over(error, message)
        if theirs is None:
            return None
        try:
            return theirs(error, message)
        except BaseException as raised:
            leave_unseen(raised)
            raise

    return on_delivery
