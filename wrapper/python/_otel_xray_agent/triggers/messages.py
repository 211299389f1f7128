"""Events of records: queues, topics, streams, tables, buckets, and messages inside of messages.

The room's door gives an event and gets a trigger, with the traces that the messages come from.
"""

from __future__ import annotations

from _otel_xray_agent.record.trace import CONSUMER, TraceHeader
from _otel_xray_agent.triggers.trigger import MAX_PRODUCERS, Trigger, name_of, part, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from _otel_xray_agent.record.trace import Attributes, Span

MAX_RECORDS = 1000
"""Records of one event that are looked at for their producers."""
MAX_NESTED = 8192
"""Characters of a message that is read for what is in it."""
MAX_FAILED_ITEMS = 10

# Near the beginning of whatever a service writes into a message.
_HEAD = 1024
_SIGNS = ('"TopicArn"', '"detail-type"', '"eventSource"')
# The attributes of a notification are at its end.
_TAIL = 4096
_TRACEPARENT_CHARS = 55


def read(event: dict[str, Any]) -> Trigger | None:
    if event.get("eventSource") in ("aws:kafka", "SelfManagedKafka"):
        return _kafka(event)
    records = event.get("Records")
    first = records[0] if type(records) is list and records else None
    if type(first) is not dict:
        return None
    source = text(first, "eventSource") or text(first, "EventSource")
    reader = _READERS.get(source) if source else None
    return None if reader is None else reader(records, first)


def _sqs(records: list[Any], first: dict[str, Any]) -> Trigger:
    trigger = _consumer("aws_sqs", name_of(text(first, "eventSourceARN")), len(records))
    if len(records) == 1:
        trigger.attributes["messaging.message.id"] = text(first, "messageId")
    _look_inside(first.get("body"), trigger.attributes)
    producers = _Producers()
    for record in records[:MAX_RECORDS]:
        if type(record) is not dict:
            continue
        sent = part(record, "messageAttributes")
        header = text(part(record, "attributes"), "AWSTraceHeader")
        traceparent = text(part(sent, "traceparent"), "stringValue") if sent else None
        if header is None and traceparent is None:
            traceparent = _of_notification(record.get("body"))
        if not producers.add(header, traceparent, text(record, "messageId")):
            break
    trigger.producers = producers.sampled_first()
    trigger.answered = _batch_answered(len(records))
    return trigger


def _sns(records: list[Any], first: dict[str, Any]) -> Trigger:
    message = part(first, "Sns")
    topic = text(message, "TopicArn")
    message_id = text(message, "MessageId")
    trigger = _consumer("aws.sns", name_of(topic), len(records))
    trigger.attributes["messaging.message.id"] = message_id
    trigger.attributes["aws.sns.topic.arn"] = topic
    _look_inside(message.get("Message"), trigger.attributes)
    producers = _Producers()
    producers.add(None, text(part(part(message, "MessageAttributes"), "traceparent"), "Value"), message_id)
    trigger.producers = producers.sampled_first()
    return trigger


def _kinesis(records: list[Any], first: dict[str, Any]) -> Trigger:
    trigger = _consumer("aws.kinesis", _stream_name(text(first, "eventSourceARN")), len(records))
    shard, colon, _ = (text(first, "eventID") or "").partition(":")
    trigger.attributes["messaging.destination.partition.id"] = shard if colon else None
    if len(records) == 1:
        trigger.attributes["messaging.message.id"] = text(part(first, "kinesis"), "sequenceNumber")
    trigger.answered = _batch_answered(len(records))
    return trigger


def _stream_name(arn: str | None) -> str | None:
    name = name_of(arn)
    return name.rpartition("/")[2] if name else None


def _dynamodb(records: list[Any], first: dict[str, Any]) -> Trigger:
    _, _, behind = (text(first, "eventSourceARN") or "").partition(":table/")
    table = behind.partition("/")[0] or None
    attributes: Attributes = {
        "faas.trigger": "datasource",
        "faas.document.collection": table,
        "aws.dynamodb.table_names": [table] if table else None,
        "messaging.batch.message_count": len(records),
    }
    if len(records) == 1:
        operations = {"INSERT": "insert", "MODIFY": "edit", "REMOVE": "delete"}
        attributes["faas.document.operation"] = operations.get(text(first, "eventName") or "")
    trigger = Trigger(attributes)
    trigger.answered = _batch_answered(len(records))
    return trigger


def _s3(records: list[Any], first: dict[str, Any]) -> Trigger:
    attributes: Attributes = {"faas.trigger": "datasource"}
    _note_object(first, attributes)
    happened, _, _ = (text(first, "eventName") or "").partition(":")
    attributes["faas.document.collection"] = attributes["aws.s3.bucket"]
    attributes["faas.document.name"] = attributes["aws.s3.key"]
    attributes["faas.document.operation"] = {"ObjectCreated": "insert", "ObjectRemoved": "delete"}.get(happened)
    attributes["faas.document.time"] = text(first, "eventTime")
    return Trigger(attributes)


def _note_object(record: dict[str, Any], attributes: Attributes) -> None:
    s3 = part(record, "s3")
    attributes["aws.s3.bucket"] = text(part(s3, "bucket"), "name")
    attributes["aws.s3.key"] = text(part(s3, "object"), "key")


_READERS: dict[str, Callable[[list[Any], dict[str, Any]], Trigger]] = {
    "aws:sqs": _sqs,
    "aws:sns": _sns,
    "aws:kinesis": _kinesis,
    "aws:dynamodb": _dynamodb,
    "aws:s3": _s3,
}


def _kafka(event: dict[str, Any]) -> Trigger:
    partitions = [records for records in part(event, "records").values() if type(records) is list]
    count = sum(map(len, partitions))
    trigger = _consumer("kafka", None, count)
    attributes = trigger.attributes
    attributes["aws.msk.cluster.arn"] = text(event, "eventSourceArn")
    first = partitions[0][0] if len(partitions) == 1 and partitions[0] else None
    if type(first) is dict:
        partition, offset = first.get("partition"), first.get("offset")
        attributes["messaging.destination.name"] = text(first, "topic")
        attributes["messaging.destination.partition.id"] = str(partition) if type(partition) is int else None
        attributes["messaging.kafka.offset"] = offset if count == 1 and type(offset) is int else None
    producers = _Producers()
    looked_at = 0
    for records in partitions:
        for record in records[: MAX_RECORDS - looked_at]:
            looked_at += 1
            headers = record.get("headers") if type(record) is dict else None
            if headers and not producers.add(None, _of_kafka_headers(headers), None):
                break
    trigger.producers = producers.sampled_first()
    return trigger


def _of_kafka_headers(headers: Any) -> str | None:
    for header in headers[:MAX_PRODUCERS] if type(headers) is list else ():
        spelled = header.get("traceparent") if type(header) is dict else None
        if type(spelled) is list:
            try:
                return bytes(spelled[:_TRACEPARENT_CHARS]).decode("ascii")
            except (TypeError, ValueError):
                return None
    return None


def _consumer(system: str, destination: str | None, count: int) -> Trigger:
    return Trigger(
        {
            "faas.trigger": "pubsub",
            "messaging.system": system,
            "messaging.destination.name": destination,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.batch.message_count": count,
        },
        CONSUMER,
    )


class _Producers:
    """Whom the messages come from, each once."""

    def __init__(self) -> None:
        self._seen: set[Any] = set()
        self._found: list[tuple[TraceHeader, Attributes]] = []

    def add(self, header: str | None, traceparent: str | None, message_id: str | None) -> bool:
        """Notes what one message names. False when there is no room for more."""
        key = (header, traceparent)
        if key in self._seen:
            return True
        self._seen.add(key)
        named = TraceHeader(header or "")
        if traceparent and not (named.parent_id and named.sampled == "1"):
            other = TraceHeader.of_traceparent(traceparent)
            if other.parent_id and (other.sampled == "1" or not named.parent_id):
                named = other
        ids = named.trace_id + named.parent_id
        if named.trace_id and named.parent_id and ids not in self._seen:
            self._seen.add(ids)
            self._found.append((named, {"messaging.message.id": message_id} if message_id else {}))
        return len(self._found) < MAX_PRODUCERS

    def sampled_first(self) -> list[tuple[TraceHeader, Attributes]]:
        """X-Ray counts the first links only, and those to a trace that exists are worth more."""
        if len(self._found) > 1:
            self._found.sort(key=lambda producer: producer[0].sampled != "1")
        return self._found


def _of_notification(body: Any) -> str | None:
    """The traceparent among the attributes of a notification in a queue, found without reading the message."""
    if type(body) is not str:
        return None
    tail = body[-_TAIL:]
    at = tail.find('"traceparent"')
    if at < 0:
        return None
    begin = tail.find('"00-', at, at + 128) + 1
    return tail[begin : begin + _TRACEPARENT_CHARS] if begin else None


def _look_inside(message: Any, attributes: Attributes) -> None:
    """Notes what a message of one service holds of another's: a notification, an event, or both."""
    for _ in range(2):
        if type(message) is not str or len(message) > MAX_NESTED:
            return
        head = message[:_HEAD]
        if head[:1] != "{" or not any(sign in head for sign in _SIGNS):
            return
        import json

        try:
            inside = json.loads(message)
        except (ValueError, RecursionError):
            return
        topic = text(inside, "TopicArn")
        if topic is not None:
            attributes["aws.sns.topic.arn"] = topic
            message = inside.get("Message")
            continue
        if text(inside, "detail-type") is not None:
            attributes["aws.eventbridge.source"] = text(inside, "source")
            attributes["aws.eventbridge.detail_type"] = text(inside, "detail-type")
            return
        records = inside.get("Records")
        first = records[0] if type(records) is list and records else None
        if type(first) is dict and first.get("eventSource") == "aws:s3":
            _note_object(first, attributes)
        return


def _batch_answered(count: int) -> Callable[[Span, Any], None]:
    def answered(span: Span, result: Any) -> None:
        failures = result.get("batchItemFailures") if isinstance(result, dict) else None
        if type(failures) is not list or not failures:
            return
        items = [item.get("itemIdentifier") if isinstance(item, dict) else None for item in failures[:MAX_RECORDS]]
        whole = any(not item for item in items)
        span.attributes["aws.lambda.batch.failures"] = count if whole else len(failures)
        if not whole:
            span.attributes["aws.lambda.batch.failed_items"] = [str(item) for item in items[:MAX_FAILED_ITEMS]]
        annotated = span.attributes.get("aws.xray.annotations")
        before = annotated if isinstance(annotated, (list, tuple)) else ()
        span.attributes["aws.xray.annotations"] = [*before, "aws.lambda.batch.failures"]

    return answered
