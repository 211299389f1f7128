"""Very many spans of one shape, as every way into the extension has them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass

BEGIN_NS = 1_795_224_538_079_123_456
KIND_INTERNAL, KIND_CLIENT = 1, 3
SAMPLED_LOCAL = 0x101
TOP = 1
"""The number of the span that all others are in."""


@dataclass(frozen=True)
class Shape:
    name: str
    count: int
    attributes: int = 0
    value_bytes: int = 20
    """Of each attribute."""
    value: str = "v"
    events: int = 0
    links: int = 0
    name_chars: int = 12
    is_nested: bool = False
    """Each span is in the one before, else all are in the first."""
    of_a_trace: int = 0
    """Spans of a trace; 0: all are of Lambda's own."""
    is_call: bool = False

    def __str__(self) -> str:
        return self.name


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed64(number: int, value: int) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def attribute(key: str, value: str) -> bytes:
    return field(1, key.encode()) + field(2, field(1, value.encode()))


class Spans:
    """The spans of a shape; `trace` is the trace they are of where the shape does not have many."""

    def __init__(self, shape: Shape, trace: str) -> None:
        self.shape, self.trace = shape, trace
        self.value = (shape.value * shape.value_bytes)[: shape.value_bytes]
        attributes = (field(9, attribute(f"app.key_{number}", self.value)) for number in range(shape.attributes))
        event = field(11, fixed64(1, BEGIN_NS) + field(2, b"message"))
        link = field(13, field(1, b"\x07" * 16) + field(2, b"\x08" * 8))
        self.name = "n" * shape.name_chars
        kind = KIND_CLIENT if shape.is_call else KIND_INTERNAL
        self.fixed = field(5, self.name.encode()) + varint(6 << 3) + varint(kind)
        self.rest = b"".join(attributes) + event * shape.events + link * shape.links
        self.rest += varint(16 << 3 | 5) + struct.pack("<I", SAMPLED_LOCAL)

    def numbers(self) -> range:
        return range(TOP + 1, TOP + 1 + self.shape.count)

    def trace_of(self, number: int) -> str:
        of_a_trace = self.shape.of_a_trace
        return f"{BEGIN_NS // 10**9:08x}{'0' * 8}{number // of_a_trace + 1:016x}" if of_a_trace else self.trace

    def parent_of(self, number: int) -> int:
        of_a_trace = self.shape.of_a_trace
        if of_a_trace:
            return number // of_a_trace * of_a_trace if number % of_a_trace else 0
        return number - 1 if self.shape.is_nested else TOP

    def protobuf(self, number: int, is_open: bool = False) -> bytes:
        parent = self.parent_of(number)
        ids = field(1, bytes.fromhex(self.trace_of(number))) + field(2, struct.pack(">Q", number))
        if parent:
            ids += field(4, struct.pack(">Q", parent))
        times = fixed64(7, BEGIN_NS + number) + (b"" if is_open else fixed64(8, BEGIN_NS + number + 900))
        return ids + self.fixed + times + self.rest

    def of_json(self, number: int) -> str:
        shape, parent = self.shape, self.parent_of(number)
        span = {
            "traceId": self.trace_of(number),
            "spanId": f"{number:016x}",
            **({"parentSpanId": f"{parent:016x}"} if parent else {}),
            "name": self.name,
            "kind": KIND_CLIENT if shape.is_call else KIND_INTERNAL,
            "startTimeUnixNano": str(BEGIN_NS + number),
            "endTimeUnixNano": str(BEGIN_NS + number + 900),
            "attributes": [
                {"key": f"app.key_{one}", "value": {"stringValue": self.value}} for one in range(shape.attributes)
            ],
            "events": [{"timeUnixNano": str(BEGIN_NS), "name": "message"}] * shape.events,
            "links": [{"traceId": "07" * 16, "spanId": "08" * 8}] * shape.links,
            "flags": SAMPLED_LOCAL,
        }
        return json.dumps(span)

    def document(self, number: int) -> str:
        """As an X-Ray SDK writes a subsegment, or the segment of a trace of its own."""
        trace, parent = self.trace_of(number), self.parent_of(number)
        begin = BEGIN_NS / 10**9
        document = {
            "id": f"{number:016x}",
            "trace_id": f"1-{trace[:8]}-{trace[8:]}",
            "name": self.name,
            "start_time": begin,
            "end_time": begin + 0.001,
            **({"parent_id": f"{parent:016x}", "type": "subsegment"} if parent else {}),
        }
        if self.shape.attributes:
            document["metadata"] = {"app": {f"key_{one}": self.value for one in range(self.shape.attributes)}}
        return json.dumps(document)

    def requests(self, limit_bytes: int, is_json: bool = False) -> Iterator[bytes]:
        """Export requests of about that size."""
        spans: list[bytes] = []
        size = 0
        for number in self.numbers():
            span = self.of_json(number).encode() if is_json else field(2, self.protobuf(number))
            if spans and size + len(span) > limit_bytes:
                yield request(spans, is_json)
                spans, size = [], 0
            spans.append(span)
            size += len(span) + 1
        yield request(spans, is_json)


def request(spans: list[bytes], is_json: bool) -> bytes:
    if is_json:
        return b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b",".join(spans) + b"]}]}]}"
    resource = field(1, field(1, attribute("service.name", "checkout")))
    return field(1, resource + field(2, b"".join(spans)))
