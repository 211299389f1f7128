"""OTLP spans as protobuf, by hand: the generated code costs more than all the rest of the agent."""

from __future__ import annotations

from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _otel_xray_agent.recorder import Span

_FIXED64 = Struct("<Q").pack
_FIXED32 = Struct("<I").pack
_DOUBLE = Struct("<d").pack

MAX_TEXT = 16_384
"""Characters of one attribute's text that are sent."""
MAX_DEPTH = 8
"""Nesting of lists and dictionaries that is followed."""


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(tag: bytes, payload: bytes) -> bytes:
    return tag + _varint(len(payload)) + payload


def _text(tag: bytes, text: str) -> bytes:
    return _bytes(tag, text[:MAX_TEXT].encode("utf-8", "replace"))


def _any(value: Any, depth: int = 0) -> bytes:
    """An ``AnyValue``. What has no counterpart becomes its text."""
    kind = type(value)
    if kind is str:
        return _text(b"\x0a", value)
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind is int and -(1 << 63) <= value < 1 << 63:
        return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    if kind is float:
        return b"\x21" + _DOUBLE(value)
    if kind is bytes:
        return _bytes(b"\x3a", value[:MAX_TEXT])
    if depth < MAX_DEPTH:
        if kind in (list, tuple):
            return _bytes(b"\x2a", b"".join(_bytes(b"\x0a", _any(item, depth + 1)) for item in value))
        if kind is dict:
            return _bytes(b"\x32", _pairs(b"\x0a", value, depth + 1))
    return _text(b"\x0a", str(value))


def _pairs(tag: bytes, attributes: dict[str, Any], depth: int = 0) -> bytes:
    return b"".join(
        _bytes(tag, _text(b"\x0a", str(key)) + _bytes(b"\x12", _any(value, depth)))
        for key, value in attributes.items()
        if value is not None
    )


def encode(span: Span) -> bytes:
    """The span as ``opentelemetry.proto.trace.v1.Span``; without an end time while it is open."""
    parts = [b"\x0a\x10", span.trace_id, b"\x12\x08", span.span_id]
    if span.trace_state:
        parts.append(_text(b"\x1a", span.trace_state))
    if span.parent_id:
        parts.append(b"\x22\x08" + span.parent_id)
    parts.append(_text(b"\x2a", span.name))
    parts.append(b"\x30" + _varint(span.kind))
    parts.append(b"\x39" + _FIXED64(span.start_ns))
    if span.end_ns:
        parts.append(b"\x41" + _FIXED64(span.end_ns))
    parts.append(_pairs(b"\x4a", span.attributes))
    for name, time_ns, attributes in span.events or ():
        event = b"\x09" + _FIXED64(time_ns) + _text(b"\x12", name) + _pairs(b"\x1a", attributes)
        parts.append(_bytes(b"\x5a", event))
    for trace_id, span_id, attributes in span.links or ():
        link = _bytes(b"\x0a", trace_id) + _bytes(b"\x12", span_id) + _pairs(b"\x22", attributes)
        parts.append(_bytes(b"\x6a", link))
    if span.status:
        status = (_text(b"\x12", span.status_message) if span.status_message else b"") + b"\x18" + _varint(span.status)
        parts.append(_bytes(b"\x7a", status))
    if span.flags:
        parts.append(b"\x85\x01" + _FIXED32(span.flags))
    return b"".join(parts)
