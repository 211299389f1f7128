"""OTLP spans as protobuf, by hand: the generated code costs more than all the rest of the agent.

The recorder gives a span and gets its bytes. It may hold anything that the function has handed over.
"""

from __future__ import annotations

from _struct import Struct

from _otel_xray_agent.record.trace import MAX_TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from _otel_xray_agent.record.trace import Span

_FIXED64 = Struct("<Q").pack
_FIXED32 = Struct("<I").pack
_DOUBLE = Struct("<d").pack

MAX_DEPTH = 8
"""Nesting of lists and dictionaries that is followed."""
MAX_ATTRIBUTE = 65_536
"""Bytes of one attribute: a list or a dictionary is cut there. X-Ray shows no document that is longer."""
ATTRIBUTES_TO, EVENTS_TO, LINKS_TO = 640 * 1024, 832 * 1024, 896 * 1024
"""Where a span has no more room for them: all of it is to fit into a frame."""


_NAMES: dict[str, bytes] = {}
"""Names of attributes as they are written: few, and on every span."""
_MAX_NAMES, _MAX_NAME = 512, 64
"""A function may make up as many as it likes, of any length: those that come later are encoded each time."""
_SHORT: dict[int, bytes] = {}
"""What stands between a name and a text of that many bytes, where all lengths take one byte."""
_MAX_SHORT = 0x7D
_ONE_BYTE = bytes(range(0x80))


def encode(span: Span) -> bytes:
    """The span as ``opentelemetry.proto.trace.v1.Span``; without an end time while it is open.

    What cannot be read, or has no room, is left out and counted in the span.
    """
    parts = [b"\x0a\x10", span.trace_id, b"\x12\x08", span.span_id]
    if span.trace_state:
        parts.append(_text(b"\x1a", span.trace_state))
    if span.parent_id:
        parts.append(b"\x22\x08")
        parts.append(span.parent_id)
    parts.append(_text(b"\x2a", span.name))
    parts.append(b"\x30" + _varint(span.kind) + b"\x39" + _FIXED64(span.start_ns))
    if span.end_ns:
        parts.append(b"\x41" + _FIXED64(span.end_ns))
    parts.append(_pairs(b"\x4a", b"\x50", span.attributes, ATTRIBUTES_TO, span.attributes_dropped))
    if span.events or span.links:
        used = sum(map(len, parts))
        if span.events:
            events = _fitting(b"\x5a", b"\x60", map(_event, span.events), EVENTS_TO - used)
            used += len(events)
            parts.append(events)
        if span.links:
            parts.append(_fitting(b"\x6a", b"\x70", map(_link, span.links), LINKS_TO - used))
    if span.status:
        status = (_text(b"\x12", span.status_message) if span.status_message else b"") + b"\x18" + _varint(span.status)
        parts.append(_bytes(b"\x7a", status))
    if span.flags:
        parts.append(b"\x85\x01" + _FIXED32(span.flags))
    return b"".join(parts)


def _event(event: tuple[str, int, dict[str, Any]]) -> bytes:
    name, time_ns, attributes = event
    return b"\x09" + _FIXED64(time_ns) + _text(b"\x12", name) + _pairs(b"\x1a", b"\x20", attributes, EVENTS_TO)


def _link(link: tuple[bytes, bytes, dict[str, Any]]) -> bytes:
    trace_id, span_id, attributes = link
    return _bytes(b"\x0a", trace_id) + _bytes(b"\x12", span_id) + _pairs(b"\x22", b"\x28", attributes, LINKS_TO)


def _pairs(tag: bytes, dropped_tag: bytes, attributes: dict[str, Any], room: int, dropped: int = 0) -> bytes:
    """Attributes, each with a guard of its own: reading a key or a value may run code of the function's."""
    pairs = (_pair(key, value, MAX_ATTRIBUTE) for key, value in list(attributes.items()) if value is not None)
    return _fitting(tag, dropped_tag, pairs, room, dropped)


def _fitting(tag: bytes, dropped_tag: bytes, encoded: Iterable[bytes], room: int, dropped: int = 0) -> bytes:
    """Those that can be encoded and have room, and the count of the others."""
    fitting = []
    for one in encoded:
        size = len(one)
        if size and size + 6 <= room:
            room -= size + 6
            fitting.append(tag)
            fitting.append(_ONE_BYTE[size : size + 1] if size < 0x80 else _varint(size))
            fitting.append(one)
        else:
            dropped += 1
    if dropped:
        fitting.append(dropped_tag + _varint(dropped))
    return b"".join(fitting)


def _pair(key: Any, value: Any, room: int) -> bytes:
    """Empty where something of it cannot be read."""
    try:
        name = (_NAMES.get(key) if type(key) is str else None) or _name(key)
        if type(value) is str and len(value) <= _MAX_SHORT:
            text = value.encode("utf-8", "replace")
            size = len(text)
            if size <= _MAX_SHORT:
                return name + (_SHORT.get(size) or _short(size)) + text
        return name + _bytes(b"\x12", _any(value, room))
    except Exception:  # whatever the function's own code raises
        return b""


def _name(key: Any) -> bytes:
    encoded = _text(b"\x0a", str(key))
    if type(key) is str and len(encoded) <= _MAX_NAME and len(_NAMES) < _MAX_NAMES:
        _NAMES[key] = encoded
    return encoded


def _short(size: int) -> bytes:
    head = _SHORT[size] = bytes((0x12, size + 2, 0x0A, size))
    return head


def _any(value: Any, room: int, depth: int = 0) -> bytes:
    """An ``AnyValue``. What has no counterpart becomes its text, and what a list has no room for is cut."""
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
            return _bytes(b"\x2a", _items(b"\x0a", value, room, lambda item, left: _any(item, left, depth + 1)))
        if kind is dict:
            pairs = (pair for pair in list(value.items()) if pair[1] is not None)
            return _bytes(b"\x32", _items(b"\x0a", pairs, room, lambda pair, left: _entry(pair, left, depth + 1)))
    return _text(b"\x0a", str(value))


def _entry(pair: tuple[Any, Any], room: int, depth: int) -> bytes:
    return _text(b"\x0a", str(pair[0])) + _bytes(b"\x12", _any(pair[1], room, depth))


def _items(tag: bytes, items: Any, room: int, encoded: Callable[[Any, int], bytes]) -> bytes:
    parts = []
    for item in items:
        part = _bytes(tag, encoded(item, room))
        room -= len(part)
        if room < 0:
            break
        parts.append(part)
    return b"".join(parts)


def _text(tag: bytes, text: str) -> bytes:
    return _bytes(tag, text[:MAX_TEXT].encode("utf-8", "replace"))


def _bytes(tag: bytes, payload: bytes) -> bytes:
    return tag + _varint(len(payload)) + payload


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _ONE_BYTE[number : number + 1]
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
