"""Makes a recording independent of the run: ids, times, ports and paths become constant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from otlp import BEGIN_NS, Json, identifier

END_NS = BEGIN_NS + 900_000_000
IDS = {"traceId": 32, "spanId": 16, "parentSpanId": 16}
# Ports that the other side of a connection drew by lot.
PEER_PORTS = ("net.peer.port", "network.peer.port", "client.port")
SERVER = 2


def settle(name: str, request: Json, ports: dict[int, int], paths: dict[str, str]) -> Json:
    """`ports` and `paths` give for each one of this run the one to write."""
    for span in spans(request):
        if span["kind"] == SERVER:
            settle_peer_port(span)
    ordered = list(tree(request))
    set_times(ordered)
    new_ids: dict[str, str] = {}
    for span in ordered:
        for field, digits in IDS.items():
            for given in found(span, field):
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
        if field in IDS:
            return new_ids[content] if content else content
        if field == "intValue":
            return str(ports.get(int(content), content))
        return text(content) if isinstance(content, str) else content

    return walk(request)


def tree(request: Json) -> Iterator[Json]:
    """The spans, parents first, siblings in the order they were recorded in."""
    below: dict[str, list[Json]] = {}
    known = {span["spanId"] for span in spans(request)}
    for span in spans(request):
        parent = span.get("parentSpanId", "")
        below.setdefault(parent if parent in known else "", []).append(span)
    waiting = list(reversed(below.get("", [])))
    while waiting:
        span = waiting.pop()
        yield span
        waiting.extend(reversed(below.get(span["spanId"], [])))


def set_times(ordered: list[Json]) -> None:
    """A millisecond for each thing that happens. Real times would differ in each run, and sometimes in their order."""
    ends = END_NS
    for place, span in enumerate(ordered):
        begin = BEGIN_NS + place * 10_000_000
        span["startTimeUnixNano"] = str(begin)
        span["endTimeUnixNano"] = str(ends - place * 10_000_000)
        for number, event in enumerate(span.get("events", [])):
            event["timeUnixNano"] = str(begin + (number + 1) * 1_000_000)


def settle_peer_port(span: Json) -> None:
    for attribute in span.get("attributes", []):
        if attribute["key"] in PEER_PORTS:
            attribute["value"] = {"intValue": "40000"}


def spans(request: Json) -> Iterator[Json]:
    for resource in request["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            yield from scope["spans"]


def found(content: Any, field: str) -> Iterator[str]:
    """The values of the fields of that name, at any depth."""
    for key, item in content.items() if isinstance(content, dict) else ():
        if key == field and item:
            yield item
        else:
            yield from found(item, field)
    for item in content if isinstance(content, list) else ():
        yield from found(item, field)
