"""RabbitMQ through pika: what is published carries the trace on, and what is consumed is linked to its producer."""

from __future__ import annotations

import copy
import sys

from _otel_xray_agent.libraries.calls import Call, Calls
from _otel_xray_agent.libraries.messages import describe, trace_for
from _otel_xray_agent.record.trace import CLIENT, CONSUMER, TraceHeader
from _otel_xray_agent.unseen import leave_unseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder


def patch(module: ModuleType, recorder: Recorder) -> None:
    """Of ``pika.channel``, on which the adapters for event loops publish and the blocking one as well."""

    def publish(call: Call) -> str:
        return _publishing(recorder, call, getattr(call.arguments[0].connection, "params", None))

    Calls(recorder, "pika", "an AMQP message").record(module.Channel, "basic_publish", publish)


def patch_blocking(module: ModuleType, recorder: Recorder) -> None:
    """Of ``pika.adapters.blocking_connection``, which waits where a channel is to confirm."""

    def connect(call: Call) -> str:
        parameters = call.given(1, "parameters")
        describe(call, "rabbitmq", None, "connect")
        call.span.kind = CLIENT
        call.span.attributes["messaging.operation.type"] = None
        several = isinstance(parameters, (list, tuple)) and parameters
        _put_server(call, parameters[0] if several else parameters)
        return "connect"

    def publish(call: Call) -> str:
        return _publishing(recorder, call, getattr(call.arguments[0].connection._impl, "params", None))

    def consume(arguments: tuple[Any, ...], options: dict[str, Any]) -> Call | None:
        """No call: only what will be called for each message."""
        begun = Call(None, None, arguments, options)  # type: ignore[arg-type]
        queue, called = begun.given(1, "queue"), begun.given(2, "on_message_callback")
        if not callable(called):
            return None
        begun.give(2, "on_message_callback", _processing(calls, str(queue), called))
        return begun

    calls = Calls(recorder, "pika", "an AMQP message")
    calls.record(module.BlockingConnection, "__init__", connect)
    calls.record(module.BlockingChannel, "basic_publish", publish)
    calls.stand_in(module.BlockingChannel, "basic_consume", consume, lambda *_: None)


def _publishing(recorder: Recorder, call: Call, parameters: Any) -> str:
    exchange, key, properties = call.given(1, "exchange"), call.given(2, "routing_key"), call.given(4, "properties")
    describe(call, "rabbitmq", ":".join(part for part in (exchange, key) if part), "publish")
    call.span.name = f"publish {exchange or key}".rstrip()
    _put_server(call, parameters)
    attributes = call.span.attributes
    attributes["messaging.rabbitmq.destination.routing_key"] = key or None
    # In a copy: a function may use its properties for many messages.
    traced = sys.modules["pika.spec"].BasicProperties() if properties is None else copy.copy(properties)
    attributes["messaging.message.id"] = traced.message_id
    attributes["messaging.message.conversation_id"] = traced.correlation_id
    added = trace_for(recorder, call.span, traced.headers or ())
    if added:
        traced.headers = {**(traced.headers or {}), **dict(added)}
        if len(call.arguments) > 4:
            call.give(4, "properties", traced)
        else:
            call.options = {**call.options, "properties": traced}
    return call.span.name


def _put_server(call: Call, parameters: Any) -> None:
    attributes = call.span.attributes
    attributes["network.protocol.name"] = "amqp"
    attributes["server.address"] = getattr(parameters, "host", None)
    attributes["server.port"] = getattr(parameters, "port", None)


def _processing(calls: Calls, queue: str, called: Any) -> Any:
    recorder = calls.recorder

    def on_message(channel: Any, method: Any, properties: Any, body: Any) -> Any:
        span = token = None
        try:
            span = recorder.child(f"process {queue}", CONSUMER)
            if span is not None:
                _about(span, method, properties)
                token = recorder.enclose(span)
                recorder.announce(span)
        except Exception as error:  # the message comes first
            calls.complain("could not be recorded", error)
        try:
            result = called(channel, method, properties, body)
        except BaseException as error:
            if span is not None:
                recorder.finish(span, token, error)
            leave_unseen(error)
            raise
        if span is not None:
            recorder.finish(span, token)
        return result

    return on_message


def _about(span: Any, method: Any, properties: Any) -> None:
    span.attributes = {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": ":".join(part for part in (method.exchange, method.routing_key) if part) or None,
        "messaging.rabbitmq.destination.routing_key": method.routing_key or None,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": properties.message_id,
        "messaging.message.conversation_id": properties.correlation_id,
    }
    headers = {str(name).lower(): str(value) for name, value in (properties.headers or {}).items()}
    producer = TraceHeader.of_traceparent(headers.get("traceparent", ""))
    if not producer.parent_id:
        producer = TraceHeader(headers.get("x-amzn-trace-id", ""))
    if producer.trace_id and producer.parent_id and producer.trace_id != span.trace_id:
        span.links = [(producer.trace_id, producer.parent_id, {})]
