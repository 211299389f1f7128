"""Spans as bytes: what the protobuf library itself would write of the same span (PL-70)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from _otel_xray_agent.record import encoder, trace
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1 import trace_pb2

SEEDS = range(300)
KEYS = ("server.address", "db.system.name", "http.request.method", "\N{EURO SIGN}uro", "k" * 61, "k" * 62, "k" * 200)
# On both sides of what a length of one byte, of two, and of three can say, in characters of one byte to four.
SIZES = (1, 2, 30, 41, 42, 62, 63, 119, 123, 124, 125, 126, 127, 128, 300, 16_370, 16_383, 16_384, 16_385)
LETTERS = ("a", "\xe9", "\N{EURO SIGN}", "\N{GRINNING FACE}", "\ud800")
NUMBERS = (0, 1, -1, 127, 128, 443, 6379, 1 << 31, (1 << 63) - 1, -(1 << 63), 1 << 63, True, False, 0.0, 2.5, -1e300)


def text(chance: random.Random) -> str:
    return chance.choice(LETTERS) * chance.choice(SIZES[:15] if chance.random() < 0.9 else SIZES)


def value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(8 if depth < 3 else 6)
    if kind < 3:
        return text(chance)
    if kind == 3:
        return "" if chance.random() < 0.2 else text(chance).encode("utf-8", "replace")
    if kind < 6:
        return chance.choice(NUMBERS)
    if kind == 6:
        return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(KEYS): value(chance, depth + 1) for _ in range(chance.randrange(4))}


def some(chance: random.Random, most: int) -> dict[str, Any]:
    return {chance.choice(KEYS) + str(number): value(chance) for number in range(chance.randrange(most))}


def seen(given: str) -> str:
    return given[: trace.MAX_TEXT].encode("utf-8", "replace").decode()


def any_value(given: Any) -> AnyValue:
    if isinstance(given, bool):
        return AnyValue(bool_value=given)
    if isinstance(given, int) and -(1 << 63) <= given < 1 << 63:
        return AnyValue(int_value=given)
    if isinstance(given, float):
        return AnyValue(double_value=given)
    if isinstance(given, bytes):
        return AnyValue(bytes_value=given[: trace.MAX_TEXT])
    if isinstance(given, list):
        return AnyValue(array_value=ArrayValue(values=map(any_value, given)))
    if isinstance(given, dict):
        return AnyValue(kvlist_value=KeyValueList(values=key_values(given)))
    return AnyValue(string_value=seen(str(given)))


def key_values(attributes: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=seen(key), value=any_value(given)) for key, given in attributes.items()]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_span_is_written_as_protobuf_writes_it(seed: int) -> None:
    chance = random.Random(seed)
    span = trace.Span(text(chance), chance.randint(1, 5), b"t" * 16, chance.choice((b"", b"p" * 8)), 0, 1 << 60)
    span.flags = chance.choice((0, 0x101, 0x301))
    span.end_ns = chance.choice((0, 1 << 61))
    span.trace_state = chance.choice(("", "vendor=1"))
    span.attributes = some(chance, 12)
    span.attributes_dropped = chance.choice((0, 1, 300))
    span.events = [(text(chance), 1 << 60, some(chance, 3)) for _ in range(chance.randrange(3))]
    span.links = [(b"l" * 16, b"s" * 8, some(chance, 3)) for _ in range(chance.randrange(3))]
    span.status, span.status_message = chance.choice(((0, ""), (1, ""), (2, text(chance))))
    events, links = trace_pb2.Span.Event, trace_pb2.Span.Link
    expected = trace_pb2.Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        trace_state=span.trace_state,
        parent_span_id=span.parent_id,
        name=seen(span.name),
        kind=span.kind,  # type: ignore[arg-type]
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=key_values(span.attributes),
        dropped_attributes_count=span.attributes_dropped,
        events=[events(name=seen(n), time_unix_nano=at, attributes=key_values(held)) for n, at, held in span.events],
        links=[links(trace_id=t, span_id=s, attributes=key_values(held)) for t, s, held in span.links],
        flags=span.flags,
    )
    if span.status:
        expected.status.code, expected.status.message = span.status, seen(span.status_message)  # type: ignore[assignment]
    encoded = encoder.encode(span)
    assert trace_pb2.Span.FromString(encoded) == expected
    assert encoded == expected.SerializeToString()
    # Of what has been written once, nothing is written otherwise.
    assert encoder.encode(span) == encoded


class Odd(str):
    """A name that says that it is another."""

    def __hash__(self) -> int:
        return hash("server.address")

    def __eq__(self, other: object) -> bool:
        return other == "server.address"


def test_names_are_remembered_within_bounds_and_as_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, bytes] = {}
    monkeypatch.setattr(encoder, "_NAMES", known)
    span = trace.Span("GET", 3, b"t" * 16, b"", 0, 1)
    for number in range(2000):
        span.attributes = {f"name.{number}": "x", "n" * 10_000 + str(number): "x"}
        encoder.encode(span)
    assert len(known) == 512
    assert sum(map(len, known.values())) <= 512 * 64
    for attributes in ({"server.address": "a"}, {Odd("odd"): "b"}):
        span.attributes = attributes
        (written,) = trace_pb2.Span.FromString(encoder.encode(span)).attributes
        assert [written.key] == [str.__str__(key) for key in attributes]


def test_what_cannot_be_read_is_counted_and_the_rest_is_there() -> None:
    class Refuses:
        def __str__(self) -> str:
            raise ValueError("secret")

    span = trace.Span("GET", 3, b"t" * 16, b"", 0, 1)
    span.attributes = {"before": 1, "refuses": Refuses(), "none": None, "after": "x"}
    read = trace_pb2.Span.FromString(encoder.encode(span))
    assert ([entry.key for entry in read.attributes], read.dropped_attributes_count) == (["before", "after"], 1)
