"""Kafka and RabbitMQ: what is sent carries the trace among its headers, and is over when the broker has it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wire_servers
from conftest import Start
from stage import HEADER, Function, attributes, bundled, pins

CANARY = "hunter2-canary"
SETS = ("stores-and-messages", "stores-and-messages-oldest")
TRACE_ID = HEADER.partition(";")[0]

HEAD = """
import asyncio, sys
sys.path[1:1] = [{path!r}]
CANARY = {canary!r}
def handler(event, context):
    found = globals()[event["do"]](event["port"], event["topic"], *event.get("more", ()))
    return asyncio.run(found) if asyncio.iscoroutine(found) else found
"""
KAFKA = {
    "kafka-python": (
        "kafka",
        """
import kafka
from kafka import KafkaProducer
# The newer ones do not understand this broker's answer to who asks for its version.
VERSION = {} if kafka.__version__.startswith("2.") else {"api_version": (2, 1)}
def hang(port, topic):
    KafkaProducer(bootstrap_servers=f"127.0.0.1:{port}")
def work(port, topic, name="mine", size=0):
    producer = KafkaProducer(bootstrap_servers=f"127.0.0.1:{port}", max_request_size=10000, **VERSION)
    headers = [(name, b"kept")]
    producer.send(topic, key=b"k-1", value=CANARY.encode() + bytes(size), headers=headers).get(60)
    producer.close()
    return headers == [(name, b"kept")]
""",
    ),
    "aiokafka": (
        "aiokafka",
        """
from aiokafka import AIOKafkaProducer
async def work(port, topic, name="mine", size=0):
    producer = AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{port}", max_request_size=10000)
    await producer.start()
    headers = [(name, b"kept")]
    try:
        await producer.send_and_wait(topic, key=b"k-1", value=CANARY.encode() + bytes(size), headers=headers)
    finally:
        await producer.stop()
    return headers == [(name, b"kept")]
""",
    ),
    "confluent-kafka": (
        "confluent_kafka",
        """
from confluent_kafka import Producer
def work(port, topic, name="mine", size=0):
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "message.max.bytes": 10000, "log_level": 0})
    headers, delivered = [(name, b"kept")], []
    told = lambda error, message: delivered.append((error, message.value()[:len(CANARY)].decode()))
    producer.produce(topic, CANARY.encode() + bytes(size), b"k-1", headers=headers, on_delivery=told)
    producer.flush()
    return headers == [(name, b"kept")] and delivered == [(None, CANARY)]
""",
    ),
}


def _cases() -> list[tuple[str, str]]:
    return [(packages, name) for packages in SETS for name in KAFKA if name in pins(packages)]


CASES = pytest.mark.parametrize(("packages", "name"), _cases())


class Broker:
    """Kafka's, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._line().rpartition(":")[2])

    def headers(self, topic: str, count: int) -> list[dict[str, str]]:
        """Those of the messages of a topic."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{topic} {count}\n")
        self._process.stdin.flush()
        found: list[dict[str, str]] = json.loads(self._line())
        return found

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    command = [sys.executable, str(Path(wire_servers.__file__).with_name("kafka_broker.py"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Broker(process)
    finally:
        process.kill()
        process.wait()


def _kafka(packages: str, name: str) -> str:
    return HEAD.format(path=str(bundled(packages)), canary=CANARY) + KAFKA[name][1]


def _sent(function: Function) -> bytes:
    return b"".join(payload for _, payload in function.frames.frames)


@CASES
def test_a_kafka_message_carries_the_trace_pl_29(start: Start, broker: Broker, packages: str, name: str) -> None:
    topic = f"orders-{packages}-{name}"
    with start(_kafka(packages, name)) as function:
        assert function.invoke({"do": "work", "port": broker.port, "topic": topic}).json is True
        function.frames.wait_for(5, 1)
        handler, call = function.frames.named("app.handler"), function.frames.named(f"send {topic}")
        assert (call.kind, call.parent_span_id, call.status.code) == (4, handler.span_id, 0)
        seen = attributes(call)
        expected = {
            "messaging.system": "kafka",
            "messaging.destination.name": topic,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.kafka.message.key": "k-1",
        }
        assert expected.items() <= seen.items()
        assert handler.start_time_unix_nano <= call.end_time_unix_nano <= handler.end_time_unix_nano
        others = [span for span in function.frames.ended() if span not in (handler, call)]
        # PL-32: what a client of Python's waits for before it can send. librdkafka connects by itself.
        assert [span.name for span in others] == ([] if name == "confluent-kafka" else ["connect"])
        assert CANARY.encode() not in _sent(function)
        assert "[otel-xray]" not in function.output()
    (headers,) = broker.headers(topic, 1)
    assert headers["mine"] == "kept"
    assert headers["X-Amzn-Trace-Id"] == f"{TRACE_ID};Parent={call.span_id.hex()};Sampled=1"
    assert headers["traceparent"] == f"00-{call.trace_id.hex()}-{call.span_id.hex()}-01"


@CASES
def test_nobody_is_told_where_the_setting_says_none_and_the_functions_own_header_stays(
    start: Start, broker: Broker, packages: str, name: str
) -> None:
    topic = f"told-{packages}-{name}"
    source = _kafka(packages, name)
    with start(source, variables={"OTEL_XRAY_PROPAGATE": "none"}) as function:
        assert function.invoke({"do": "work", "port": broker.port, "topic": topic}).json is True
        function.frames.wait_for(5, 1)
        assert function.frames.named(f"send {topic}").kind == 4
    with start(source) as function:
        event = {"do": "work", "port": broker.port, "topic": topic, "more": ["traceparent"]}
        assert function.invoke(event).json is True
    told_nobody, own = sorted(broker.headers(topic, 2), key=len)
    assert told_nobody == {"mine": "kept"}
    assert sorted(own) == ["X-Amzn-Trace-Id", "traceparent"]
    assert own["traceparent"] == "kept"


@CASES
def test_a_message_that_cannot_be_sent_fails_as_without_the_layer_pl_90(
    start: Start, broker: Broker, packages: str, name: str
) -> None:
    topic, answers = "large", []
    for layer in (False, True):
        with start(_kafka(packages, name), layer=layer) as function:
            event = {"do": "work", "port": broker.port, "topic": topic, "more": ["mine", 1 << 20]}
            answer = function.invoke(event).json
            assert "errorType" in answer, answer
            # The size that is too large is that of the headers too.
            answers.append((answer["errorType"], answer["stackTrace"]))
            if layer:
                function.frames.wait_for(5, 1)
                assert function.frames.named(f"send {topic}").status.code == 2
    assert answers[0] == answers[1]


@CASES
def test_a_broker_that_hangs_is_blamed_pl_32(start: Start, packages: str, name: str) -> None:
    with wire_servers.serving(wire_servers.Silent) as silent, start(_kafka(packages, name)) as function:
        do = "hang" if name == "kafka-python" else "work"
        function.invoke({"do": do, "port": silent.port, "topic": "orders"}, answered=False)
        function.frames.wait_for(3, 2)
        blamed = function.frames.started()[1].name
        assert blamed == ("send orders" if name == "confluent-kafka" else "connect")
        assert function.frames.ended() == []


@CASES
def test_kafka_disabled_by_name(start: Start, broker: Broker, packages: str, name: str) -> None:
    topic = f"disabled-{packages}-{name}"
    with start(_kafka(packages, name), variables={"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": KAFKA[name][0]}) as function:
        assert function.invoke({"do": "work", "port": broker.port, "topic": topic}).json is True
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]
    assert broker.headers(topic, 1) == [{"mine": "kept"}]


CONFLUENT = """
from confluent_kafka import Producer, SerializingProducer, cimpl
class Own(Producer):
    pass
def work(port, topic):
    delivered = []
    settings = {"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}
    settings["on_delivery"] = lambda error, message: delivered.append(message.topic())
    for kind in (Producer, Own, SerializingProducer):
        producer = kind(settings)
        producer.produce(topic, value=b"x", headers={"mine": b"kept"})
        # Not waited for before the handler ends.
        producer.produce(topic, value=b"y", on_delivery=lambda error, message: delivered.append("own"))
        producer.flush()
    return delivered
def look(port, topic):
    try:
        Producer({"bootstrap.servers": f"127.0.0.1:{port}"}).foo = 1
    except AttributeError:
        pass
    names = [Producer.__name__, Producer.__qualname__, Producer.__module__, Producer.__doc__[:20]]
    return [*names, Producer is cimpl.Producer, Producer.produce.__name__, issubclass(SerializingProducer, Producer)]
def later(port, topic):
    global held
    held = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "linger.ms": 100000, "log_level": 0})
    held.produce(topic, value=b"x")
"""


@pytest.mark.parametrize("packages", [packages for packages, name in _cases() if name == "confluent-kafka"])
def test_the_type_in_c_is_what_it_was_for_who_derives_from_it(start: Start, broker: Broker, packages: str) -> None:
    source = HEAD.format(path=str(bundled(packages)), canary=CANARY) + CONFLUENT
    topic = f"derived-{packages}"
    looks = []
    for layer in (False, True):
        with start(source, layer=layer) as function:
            looks.append(function.invoke({"do": "look", "port": broker.port, "topic": topic}).json)
            # What the settings name is called for messages that name nothing themselves.
            answer = function.invoke({"do": "work", "port": broker.port, "topic": topic}).json
            assert sorted(answer) == sorted([topic, "own"] * 3)
            if layer:
                function.frames.wait_for(5, 2)
                sent = [span for span in function.frames.ended() if span.kind == 4]
                assert [span.name for span in sent] == [f"send {topic}"] * 6
                assert {attributes(span)["messaging.destination.partition.id"] for span in sent} <= set("0123")
    assert looks[0] == looks[1]


@pytest.mark.parametrize("packages", [packages for packages, name in _cases() if name == "confluent-kafka"])
def test_a_message_that_nobody_waits_for_was_over_when_it_was_sent(start: Start, broker: Broker, packages: str) -> None:
    source = HEAD.format(path=str(bundled(packages)), canary=CANARY) + CONFLUENT
    with start(source) as function:
        function.invoke({"do": "later", "port": broker.port, "topic": f"later-{packages}"})
        function.frames.wait_for(5, 1)
        call, handler = function.frames.ended()
    assert (call.name, call.status.code) == (f"send later-{packages}", 0)
    assert call.end_time_unix_nano <= handler.end_time_unix_nano


PIKA = """
import pika
def opened(port):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
def publish(port, topic, confirmed, headers):
    with opened(port) as connection:
        channel = connection.channel()
        channel.queue_declare(topic)
        if confirmed:
            channel.confirm_delivery()
        properties = pika.BasicProperties(headers=headers, message_id="m-1", correlation_id="c-1")
        channel.basic_publish("", topic, CANARY.encode(), properties)
        got = channel.basic_get(topic, auto_ack=True)[1].headers
        channel.basic_publish(exchange="", routing_key=topic, body=CANARY.encode())
        return [properties.headers, got, channel.basic_get(topic, auto_ack=True)[1].headers]
def consume(port, topic, traceparent):
    with opened(port) as connection:
        channel = connection.channel()
        channel.queue_declare(topic)
        channel.basic_publish("", topic, CANARY.encode(), pika.BasicProperties(headers={"traceparent": traceparent}))
        def told(its, method, properties, body):
            its.stop_consuming()
            raise KeyError("from the callback")
        channel.basic_consume(topic, told, auto_ack=True)
        channel.start_consuming()
def wrong(port, topic):
    with opened(port) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("nowhere", topic, b"x")
"""
Port = Callable[[str], int]
PIKAS = pytest.mark.parametrize("packages", [packages for packages in SETS if "pika" in pins(packages)])


def _pika(packages: str) -> str:
    return HEAD.format(path=str(bundled(packages)), canary=CANARY) + PIKA


@PIKAS
@pytest.mark.parametrize("confirmed", [True, False])
def test_a_rabbitmq_message_carries_the_trace_pl_29(
    start: Start, server_port: Port, packages: str, confirmed: bool
) -> None:
    port, topic = server_port("rabbitmq"), f"orders-{packages}-{confirmed}"
    event = {"do": "publish", "port": port, "topic": topic, "more": [confirmed, {"mine": "kept"}]}
    with start(_pika(packages)) as function:
        own, headers, bare = function.invoke(event).json
        function.frames.wait_for(5, 1)
        connect, first, second, handler = function.frames.ended()
        assert (connect.name, connect.kind) == ("connect", 3)
        for call in (first, second):
            assert (call.name, call.kind, call.parent_span_id) == (f"publish {topic}", 4, handler.span_id)
        expected = {
            "messaging.system": "rabbitmq",
            "messaging.destination.name": topic,
            "messaging.rabbitmq.destination.routing_key": topic,
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.message.id": "m-1",
            "messaging.message.conversation_id": "c-1",
            "server.address": "127.0.0.1",
            "server.port": port,
        }
        assert expected.items() <= attributes(first).items()
        assert CANARY.encode() not in _sent(function)
        assert "[otel-xray]" not in function.output()
    # The function's own properties stay as they are.
    assert own == {"mine": "kept"}
    assert headers == {
        "mine": "kept",
        "X-Amzn-Trace-Id": f"{TRACE_ID};Parent={first.span_id.hex()};Sampled=1",
        "traceparent": f"00-{first.trace_id.hex()}-{first.span_id.hex()}-01",
    }
    assert bare["traceparent"].split("-")[2] == second.span_id.hex()
    with start(_pika(packages), variables={"OTEL_XRAY_PROPAGATE": "none"}) as function:
        assert function.invoke(event).json == [{"mine": "kept"}, {"mine": "kept"}, None]
    disabled = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "pika"}
    with start(_pika(packages), variables=disabled) as function:
        assert function.invoke(event).json == [{"mine": "kept"}, {"mine": "kept"}, None]
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]


@PIKAS
def test_a_message_that_is_consumed_is_linked_to_its_trace(start: Start, server_port: Port, packages: str) -> None:
    topic, trace, parent = f"consumed-{packages}", "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    answers = []
    for layer in (False, True):
        with start(_pika(packages), layer=layer) as function:
            more = [f"00-{trace}-{parent}-01"]
            event = {"do": "consume", "port": server_port("rabbitmq"), "topic": topic, "more": more}
            answers.append(function.invoke(event).json)
            if layer:
                function.frames.wait_for(5, 1)
                process, handler = function.frames.named(f"process {topic}"), function.frames.named("app.handler")
                assert (process.kind, process.parent_span_id, process.status.code) == (5, handler.span_id, 2)
                (link,) = process.links
                assert (link.trace_id.hex(), link.span_id.hex()) == (trace, parent)
                assert attributes(process)["messaging.operation.type"] == "process"
    for answer in answers:
        answer.pop("requestId")
    assert answers[0] == answers[1]
    assert answers[0]["errorMessage"] == "'from the callback'"


@PIKAS
def test_what_rabbitmq_refuses_fails_as_without_the_layer_pl_90(start: Start, server_port: Port, packages: str) -> None:
    answers = []
    for layer in (False, True):
        with start(_pika(packages), layer=layer) as function:
            answer = function.invoke({"do": "wrong", "port": server_port("rabbitmq"), "topic": "orders"}).json
            answers.append((answer["errorType"], answer["errorMessage"], answer["stackTrace"]))
            if layer:
                function.frames.wait_for(5, 1)
                call = function.frames.named("publish nowhere")
                assert (call.status.code, attributes(call)["error.type"]) == (
                    2,
                    "pika.exceptions.ChannelClosedByBroker",
                )
    assert answers[0] == answers[1]


@PIKAS
def test_a_rabbitmq_that_hangs_is_blamed_pl_32(start: Start, packages: str) -> None:
    with wire_servers.serving(wire_servers.Silent) as silent, start(_pika(packages)) as function:
        function.invoke({"do": "wrong", "port": silent.port, "topic": "orders"}, answered=False)
        function.frames.wait_for(3, 2)
        call = function.frames.started()[1]
        assert call.name == "connect"
        assert attributes(call)["server.port"] == silent.port
        assert function.frames.ended() == []
