"""OTLP/JSON requests from Python values, written so that a person can read them."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Attributes = Mapping[str, Any]

KINDS = {"unspecified": 0, "internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
STATUS = {"unset": 0, "ok": 1, "error": 2}
BEGIN_NS = 1_789_000_000_123_456_000
INPUTS = Path(__file__).resolve().parent.parent / "inputs"


def identifier(seed: str, digits: int) -> str:
    """Hex digits that depend on the seed alone."""
    return hashlib.sha256(seed.encode()).hexdigest()[:digits]


def value(of: Any) -> Json:
    if isinstance(of, bool):
        return {"boolValue": of}
    if isinstance(of, int):
        return {"intValue": str(of)}
    if isinstance(of, float):
        return {"doubleValue": of}
    if isinstance(of, str):
        return {"stringValue": of}
    if isinstance(of, bytes):
        return {"bytesValue": base64.b64encode(of).decode()}
    if isinstance(of, Mapping):
        return {"kvlistValue": {"values": attributes(of)}}
    if isinstance(of, Sequence):
        return {"arrayValue": {"values": [value(item) for item in of]}}
    raise TypeError(f"no OTLP value for {of!r}")


def attributes(of: Attributes) -> list[Json]:
    return [{"key": key, "value": value(item)} for key, item in of.items()]


def event(name: str, after_ns: int = 1_000_000, **fields: Any) -> Json:
    """An event; attribute names have `_` for `.`, except in `attrs`."""
    attrs = {key.replace("_", "."): item for key, item in fields.items() if key != "attrs"}
    attrs.update(fields.get("attrs", {}))
    return {"timeUnixNano": str(BEGIN_NS + after_ns), "name": name, "attributes": attributes(attrs)}


def exception(kind: str = "", message: str = "", stack: str = "") -> Json:
    fields = {"exception.type": kind, "exception.message": message, "exception.stacktrace": stack}
    return event("exception", attrs={key: text for key, text in fields.items() if text})


def link(seed: str, attrs: Attributes | None = None, trace_id: str | None = None) -> Json:
    made: Json = {"traceId": trace_id or identifier(seed, 32), "spanId": identifier(seed + "/span", 16)}
    if attrs:
        made["attributes"] = attributes(attrs)
    return made


def span(
    name: str,
    kind: str,
    attrs: Attributes | None = None,
    *,
    parent: str | None = "outside",
    seed: str = "",
    status: str | None = None,
    message: str = "",
    events: Sequence[Json] = (),
    links: Sequence[Json] = (),
    begin_ns: int = BEGIN_NS,
    lasting_ns: int = 50_000_000,
    **others: Any,
) -> Json:
    """A span; `parent` is the seed of another one, or None. Ids are filled in by `request`."""
    made: Json = {"seed": seed or name, "parent": parent, "name": name, "kind": KINDS[kind]}
    made["startTimeUnixNano"] = str(begin_ns)
    made["endTimeUnixNano"] = str(begin_ns + lasting_ns)
    if attrs:
        made["attributes"] = attributes(attrs)
    if events:
        made["events"] = list(events)
    if links:
        made["links"] = list(links)
    if status is not None:
        made["status"] = {"code": STATUS[status], **({"message": message} if message else {})}
    made.update(others)
    return made


def request(file: str, spans: Sequence[Json], resource: Attributes | None = None, scope: str = "oracle") -> Json:
    """A request of one resource and one scope; all its ids follow from the file's name."""
    settled = []
    for given in spans:
        fields = dict(given)
        seed, parent = fields.pop("seed"), fields.pop("parent")
        ids = {"traceId": identifier(file, 32), "spanId": identifier(f"{file}/{seed}", 16)}
        if parent is not None:
            ids["parentSpanId"] = identifier(f"{file}/{parent}", 16)
        settled.append({**ids, **fields})
    scope_spans = {"scope": {"name": scope, "version": "1.2.3"}, "spans": settled}
    return {"resourceSpans": [{"resource": {"attributes": attributes(resource or {})}, "scopeSpans": [scope_spans]}]}


def write(folder: str, requests: Mapping[str, Json]) -> None:
    """Replaces a folder of inputs."""
    shutil.rmtree(INPUTS / folder, ignore_errors=True)
    for name, content in requests.items():
        path = INPUTS / folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines(content) + "\n", encoding="utf-8")
    print(f"{folder}: {len(requests)} inputs")


def lines(content: Any, indent: str = "") -> str:
    """JSON with one attribute a line."""
    flat = json.dumps(content, ensure_ascii=False)
    if not isinstance(content, (dict, list)) or (len(flat) + len(indent) <= 116 and "[" not in flat):
        return flat
    inner = indent + " "
    if isinstance(content, dict):
        items = [f"{json.dumps(key)}: {lines(item, inner)}" for key, item in content.items()]
        opening, closing = "{}"
    else:
        items = [lines(item, inner) for item in content]
        opening, closing = "[]"
    if not items:
        return opening + closing
    return opening + ",".join(f"\n{inner}{item}" for item in items) + f"\n{indent}{closing}"
