"""Kafka through kafka-python and aiokafka: what is sent carries the trace on, and is over when the broker has it."""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.messages import about_kafka, describe, trace_for
from _otel_xray_agent.record.trace import CLIENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder

_SINCE = (0, 11)
"""Brokers whose messages have headers."""


def patch(module: ModuleType, recorder: Recorder) -> None:
    """Of ``kafka.producer.kafka``. Its future calls back in the thread of the producer."""

    def connect(call: Call) -> str:
        return _connecting(call, call.options.get("bootstrap_servers", "localhost"))

    def send(call: Call) -> str:
        config = call.arguments[0].config
        name = _sending(recorder, call, 4, config["bootstrap_servers"], may_add=config["api_version"] >= _SINCE)
        about_kafka(call, call.given(3, "key"), call.given(2, "value"), call.given(5, "partition"))
        return name

    def sent(call: Call, future: Any, error: BaseException | None) -> bool:
        if error is not None:
            return False
        over = calls.later(call, lambda _, came: came if isinstance(came, BaseException) else None)
        future.add_callback(over)
        future.add_errback(over)
        return True

    calls = Calls(recorder, "kafka", "a Kafka message")
    calls.record(module.KafkaProducer, "__init__", connect)
    calls.record(module.KafkaProducer, "send", send, sent)


def patch_async(module: ModuleType, recorder: Recorder) -> None:
    """Of ``aiokafka.producer.producer``."""

    def connect(call: Call) -> str:
        return _connecting(call, call.arguments[0].client._bootstrap_servers)

    def send(call: Call) -> str:
        client = call.arguments[0].client
        version = getattr(client, "api_version", None)
        may_add = not isinstance(version, tuple) or version >= _SINCE
        name = _sending(recorder, call, 6, client._bootstrap_servers, may_add=may_add)
        about_kafka(call, call.given(3, "key"), call.given(2, "value"), call.given(4, "partition"))
        return name

    def sent(call: Call, future: Any, error: BaseException | None) -> bool:
        if error is not None:
            return False
        future.add_done_callback(calls.later(call, lambda _, done: None if done.cancelled() else done.exception()))
        return True

    calls = Calls(recorder, "aiokafka", "a Kafka message")
    calls.record(module.AIOKafkaProducer, "start", connect)
    calls.record(module.AIOKafkaProducer, "send", send, sent)


def _connecting(call: Call, servers: Any) -> str:
    describe(call, "kafka", None, "connect")
    call.span.kind = CLIENT
    call.span.attributes["messaging.operation.type"] = None
    _put_server(call, servers)
    return "connect"


def _sending(recorder: Recorder, call: Call, at: int, servers: Any, *, may_add: bool) -> str:
    """``at`` is the place of the headers among the arguments."""
    name = describe(call, "kafka", call.given(1, "topic"))
    _put_server(call, servers)
    headers = call.given(at, "headers")
    if may_add and (headers is None or isinstance(headers, (list, tuple))):
        present = list(headers or ())
        added = trace_for(recorder, call.span, [one[0] for one in present])
        if added:
            present += [(name, value.encode()) for name, value in added]
            call.give(at, "headers", tuple(present) if isinstance(headers, tuple) else present)
    return name


def _put_server(call: Call, servers: Any) -> None:
    """The first of those that the client begins with."""
    if isinstance(servers, (list, tuple)):
        servers = servers[0] if servers else ""
    host, _, port = str(servers).split(",")[0].rpartition("://")[2].rpartition(":")
    call.span.attributes["server.address"] = host or port
    call.span.attributes["server.port"] = int(port) if host and port.isdecimal() else None
