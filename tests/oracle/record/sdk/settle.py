"""Makes a recording independent of the run: ids, times, ports and paths become constant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from otlp import BEGIN_NS, Json, identifier

TIMES = ("startTimeUnixNano", "endTimeUnixNano", "timeUnixNano")
IDS = {"traceId": 32, "spanId": 16, "parentSpanId": 16}
# Ports that the other side of a connection drew by lot.
PEER_PORTS = ("net.peer.port", "network.peer.port", "client.port")
SERVER = 2


def settle(name: str, request: Json, ports: dict[int, int], paths: dict[str, str]) -> Json:
    """`ports` and `paths` give for each one of this run the one to write."""
    for span in spans(request):
        if span["kind"] == SERVER:
            settle_peer_port(span)
    times = sorted({int(time) for time in found(request, TIMES) if int(time)})
    new_times = {str(time): str(BEGIN_NS + place * 1_000_000) for place, time in enumerate(times)}
    ordered = sorted(spans(request), key=lambda span: int(span["startTimeUnixNano"]))
    new_ids: dict[str, str] = {}
    for holder in [*ordered, request]:
        for field, digits in IDS.items():
            for given in found(holder, (field,)):
                new_ids.setdefault(given, identifier(f"{name}/{len(new_ids)}", digits))
    numbers = "|".join(str(port) for port in ports)
    port_text = re.compile(rf"(?<![0-9])(?:{numbers})(?![0-9])")

    def text(of: str) -> str:
        for path, new in paths.items():
            of = of.replace(path, new)
        return port_text.sub(lambda match: str(ports[int(match.group())]), of)

    def walk(content: Any, field: str = "") -> Any:
        if isinstance(content, dict):
            return {key: walk(item, key) for key, item in content.items()}
        if isinstance(content, list):
            return [walk(item) for item in content]
        if field in TIMES:
            return new_times.get(str(content), "0")
        if field in IDS:
            return new_ids[content] if content else content
        if field == "intValue":
            return str(ports.get(int(content), content))
        return text(content) if isinstance(content, str) else content

    return walk(request)


def settle_peer_port(span: Json) -> None:
    for attribute in span.get("attributes", []):
        if attribute["key"] in PEER_PORTS:
            attribute["value"] = {"intValue": "40000"}


def spans(request: Json) -> Iterator[Json]:
    for resource in request["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            yield from scope["spans"]


def found(content: Any, fields: tuple[str, ...]) -> Iterator[Any]:
    if isinstance(content, dict):
        for key, item in content.items():
            if key in fields and item:
                yield item
            else:
                yield from found(item, fields)
    elif isinstance(content, list):
        for item in content:
            yield from found(item, fields)
