"""Annotations, metadata, links and events: MAP-61 to MAP-69."""

from __future__ import annotations

from otlp import event, link, span

SHOP = {"service.name": "shop", "cloud.provider": "aws"}
SCALARS = {"text": "a", "number": 7, "fraction": 1.5, "yes": True, "no": False, "empty": ""}

CASES = {
    "map-61-by-setting": (
        [span("GET /", "server", {"indexed.by_setting": "yes", "not.indexed": "no"}, parent=None)],
        {**SHOP, "indexed.by_setting": 7},
    ),
    "map-61-by-attribute": (
        [span("work", "internal", {**SCALARS, "aws.xray.annotations": [*SCALARS, "absent"], "rest": 1})],
        SHOP,
    ),
    "map-61-by-attribute-as-text": ([span("work", "internal", {"aws.xray.annotations": "text", "text": "a"})], SHOP),
    "map-61-an-attribute-a-block-uses": (
        [
            span(
                "GET",
                "client",
                {
                    "http.method": "GET",
                    "http.status_code": 200,
                    "aws.xray.annotations": ["http.method", "http.status_code"],
                },
            )
        ],
        SHOP,
    ),
    "map-61-resource-by-attribute": (
        [span("GET /", "server", {"aws.xray.annotations": ["otel.resource.service.name"]}, parent=None)],
        SHOP,
    ),
    "map-62-lists-are-not-annotations": (
        [span("work", "internal", {"aws.xray.annotations": ["list", "map"], "list": [1, 2], "map": {"a": 1}})],
        SHOP,
    ),
    "map-63-keys": (
        [
            span(
                "work",
                "internal",
                {
                    "a.b": 1,
                    "a-b": 2,
                    "a b": 3,
                    "größe": 4,
                    "aws.xray.annotations": ["a.b", "a-b", "größe"],
                },
            )
        ],
        SHOP,
    ),
    "map-63-colliding-keys": (
        [span("work", "internal", {"a-b": "same", "a/b": "same", "aws.xray.annotations": ["a-b", "a/b"]})],
        SHOP,
    ),
    "map-64-resource": (
        [span("GET /", "server", parent=None), span("work", "internal", parent="GET /")],
        {**SHOP, "deployment.environment.name": "prod", "list": ["a", "b"], "number": 7, "map": {"a": {"b": 1}}},
    ),
    "map-65-metadata-namespaces": (
        [
            span(
                "work",
                "internal",
                {
                    "aws.xray.metadata.cart": '{"items": 3, "list": [1, {"a": null}]}',
                    "aws.xray.metadata.default": '{"own": true}',
                    "aws.xray.metadata.broken": "{not json",
                    "aws.xray.metadata.list": "[1, 2]",
                    "aws.xray.metadata.number": 7,
                },
            )
        ],
        SHOP,
    ),
    "map-66-values": (
        [
            span(
                "work",
                "internal",
                {
                    **SCALARS,
                    "list": ["a", "b"],
                    "numbers": [1, 2],
                    "mixed": ["a", 1, 1.5, True],
                    "map": {"a": 1, "b": {"c": [1]}},
                    "bytes": b"\x00\xff",
                    "large": 2**53 - 1,
                    "negative": -7,
                    "small": 1e-7,
                    "whole": 3.0,
                    "line\nbreak": "line\nbreak",
                    "unicode": "日本語 \U0001f600",
                    "html": "<a href='x'>&</a>",
                },
            )
        ],
        SHOP,
    ),
    "map-66-large-integers": ([span("work", "internal", {"over": 2**53 + 1, "most": 2**63 - 1})], SHOP),
    "map-66-empty-value": ([span("work", "internal", attributes=[{"key": "empty", "value": {}}])], SHOP),
    "map-67-many-annotations": (
        [
            span(
                "work",
                "internal",
                {
                    **{f"key{n}": n for n in range(60)},
                    "aws.xray.annotations": [f"key{n}" for n in range(60)],
                },
            )
        ],
        SHOP,
    ),
    "map-67-long-values": (
        [span("work", "internal", {"long": "x" * 1500, "aws.xray.annotations": ["long"], "enduser.id": "u" * 300})],
        SHOP,
    ),
    "map-68-links": (
        [
            span(
                "process",
                "consumer",
                parent=None,
                links=[link("one"), link("two", {"messaging.message.id": "m-2", "n": 7, "list": ["a"]})],
            ),
            span("below", "internal", links=[link("three")]),
        ],
        SHOP,
    ),
    "map-68-invalid-link": (
        [
            span("process", "consumer", parent=None, links=[link("one"), link("zero", trace_id="0" * 32)]),
            span("beside", "internal"),
        ],
        SHOP,
    ),
    "map-68-many-links": (
        [span("process", "consumer", parent=None, links=[link(f"link {n}") for n in range(25)])],
        SHOP,
    ),
    "map-69-what-is-dropped": (
        [
            span(
                "work",
                "internal",
                {"kept": 1},
                message="all well",
                status="ok",
                events=[event("cache miss", cache_key="cart-7"), event("retry", 2_000_000, attempt=2)],
                traceState="vendor=1",
                droppedAttributesCount=3,
                droppedEventsCount=2,
                droppedLinksCount=1,
            )
        ],
        SHOP,
    ),
}
