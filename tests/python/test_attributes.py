"""What a function puts on its spans: nothing that it hands over raises, and what is huge is cut."""

from __future__ import annotations

from conftest import Start
from stage import attributes

HUGE = """
from opentelemetry import trace
tracer = trace.get_tracer("shop")
def handler(event, context):
    with tracer.start_as_current_span("query") as span:
        span.set_attribute("db.system", "mysql")
        span.set_attribute("rows", ["x" * 1000] * 2000)
        span.set_attribute("nested", {"a": [list(range(100_000))] * 10})
        span.set_attribute("after", 1)
    with tracer.start_as_current_span("many") as span:
        for number in range(100):
            span.set_attribute(f"a{number}", "\\u20ac" * 20_000)
        for number in range(100):
            span.add_event("row", {"text": "\\u20ac" * 20_000})
    return "ok"
"""


def test_a_huge_attribute_is_cut_and_its_span_is_kept(start: Start) -> None:
    with start(HUGE) as function:
        assert function.invoke().json == "ok"
        function.frames.wait_for(5, 1)
        query, many = (function.frames.named(name) for name in ("query", "many"))
        # done: the outcome, then the spans dropped.
        assert function.frames.of(5)[0][1:5] == bytes(4)
    seen = attributes(query)
    assert (seen["db.system"], seen["after"]) == ("mysql", 1)
    rows = seen["rows"]
    # 65,536 bytes, with what protobuf puts around each of a thousand.
    assert 60 <= len(rows) <= 65
    assert set(rows) == {"x" * 1000}
    assert query.dropped_attributes_count == 0
    # Of each 16,384 characters of three bytes: as many as there is room for, the first ones.
    kept = len(many.attributes) - 1
    assert [entry.key for entry in many.attributes][1:] == [f"a{number}" for number in range(kept)]
    assert kept == 640 * 1024 // (16_384 * 3)
    assert many.dropped_attributes_count == 100 - kept
    assert len(many.events) + many.dropped_events_count == 100
    assert len(many.events) == (832 - 640) * 1024 // (16_384 * 3)
    assert many.ByteSize() < 1_048_576
