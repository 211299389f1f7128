"""Whatever a function hands to the OpenTelemetry API: nothing raises, and what can be read is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Start, Website
from stage import attributes, bundled

HEAD = """
import sys
sys.path.insert(1, {folder!r})
from opentelemetry import context, trace
tracer = trace.get_tracer("shop")

class Lazy:
    '''A framework's proxy outside of its request.'''
    def __str__(self):
        raise RuntimeError("working outside of request context")
    __repr__ = __bool__ = __iter__ = __hash__ = __int__ = __str__
    def __eq__(self, other):
        raise RuntimeError("working outside of request context")

class Broken(Exception):
    def __str__(self):
        raise RuntimeError("no text")

class NotOne:
    '''A mapping in name.'''
    def keys(self):
        raise RuntimeError("no keys")
    items = __iter__ = __len__ = __getitem__ = keys
"""

# What is handed over -> the expression.
HANDED = {
    "times as seconds": "tracer.start_span('s', start_time=1.7e9).end(end_time=1.7e9 + 1)",
    "times as floats": "tracer.start_span('s', start_time=1.7e18).end(end_time=1.7e18)",
    "times that are none": "tracer.start_span('s', start_time='now').end(end_time=float('nan'))",
    "times past all time": "tracer.start_span('s', start_time=-1).end(end_time=1 << 70)",
    "times that raise": "tracer.start_span('s', start_time=Lazy()).end(end_time=Lazy())",
    "attributes that are no mapping": "tracer.start_span('s', attributes=5).end()",
    "attributes that raise": "tracer.start_span('s', attributes=NotOne()).end()",
    "a value that raises": "tracer.start_span('s', attributes={'lazy': Lazy(), 'kept': 1}).end()",
    "a value in a list that raises": "tracer.start_span('s', attributes={'lazy': [Lazy()], 'kept': 1}).end()",
    "a key that raises": "do(lambda s: (s.set_attribute(Lazy(), 1), s.set_attribute('kept', 1)))",
    "a key that is none": "do(lambda s: (s.set_attribute(['list'], 1), s.set_attribute(None, 2)))",
    "set_attributes of none": "do(lambda s: [s.set_attributes(x) for x in (None, 5, NotOne())])",
    "a name that raises": "tracer.start_span(Lazy()).end()",
    "a name that is none": "do(lambda s: (s.update_name(None), s.update_name(Lazy())))",
    "a kind that is none": "tracer.start_span('s', kind=7).end(); tracer.start_span('s', kind=Lazy()).end()",
    "a link that is none": "[tracer.start_span('s', links=x).end() for x in ([None, 5, Lazy()], 5, Lazy())]",
    "a context that is none": "tracer.start_span('s', context=5).end(); tracer.start_span('s', context={1: 2}).end()",
    "an event's time": "do(lambda s: [s.add_event('e', {'kept': 1}, t) for t in (1.7e18, 1.7e9, 'x', Lazy(), -5)])",
    "an event's attributes": "do(lambda s: [s.add_event('e', a) for a in (5, NotOne(), Lazy(), {'k': Lazy()}, [1])])",
    "an event's name": "do(lambda s: [s.add_event(n) for n in (None, Lazy(), 5)])",
    "a status that is none": "do(lambda s: [s.set_status(x, y) for x in (None, 5, Lazy()) for y in (None, Lazy())])",
    "a description that raises": "do(lambda s: s.set_status(trace.StatusCode.ERROR, Lazy()))",
    "an exception with a broken text": "do(lambda s: s.record_exception(Broken()))",
    "an exception that is none": "do(lambda s: [s.record_exception(x) for x in (None, 'text', Lazy(), ValueError)])",
    "an exception's attributes": "do(lambda s: s.record_exception(ValueError(), NotOne(), 'now'))",
    "a lone surrogate": "do(lambda s: s.set_attribute('\\\\ud800', '\\\\udfff'))",
    "numbers past all bounds": "do(lambda s: s.set_attribute('n', [10 ** 5000, float('inf'), -(1 << 64)]))",
    "a list of itself": "a = []; a.append(a); do(lambda s: s.set_attribute('n', a))",
    "a tracer's name": "[trace.get_tracer(x, x).start_span('s').end() for x in ('', None, Lazy(), 5)]",
    "the handler's span": "trace.get_current_span().set_attribute('lazy', Lazy())",
}

SOURCE = (
    HEAD
    + """
import urllib.request
def do(change):
    with tracer.start_as_current_span("s") as span:
        change(span)
def handler(event, _):
    {expression}
    with tracer.start_as_current_span("after", kind=trace.SpanKind.CLIENT):
        urllib.request.urlopen(event).read()
    return "ok"
"""
)


@pytest.fixture(scope="session", params=["1.15.0", "newest"])
def opentelemetry_api(request: pytest.FixtureRequest) -> Path:
    return bundled(f"opentelemetry-api-{request.param}")


@pytest.mark.parametrize("what", HANDED)
def test_nothing_that_is_handed_over_raises(start: Start, website: Website, opentelemetry_api: Path, what: str) -> None:
    source = SOURCE.replace("{folder!r}", repr(str(opentelemetry_api)))
    with start(source.replace("{expression}", HANDED[what].replace("\\\\", "\\"))) as function:
        assert function.invoke(website.url).json == "ok"
        function.frames.wait_for(5, 1)
        frames = function.frames
    *spans, call, after, handler = frames.ended()
    # A done frame that says: returned, and no span was dropped.
    assert frames.of(5)[0][:5] == bytes(5)
    assert (call.name, after.name, handler.name) == ("GET", "after", "app.handler")
    for span in spans:
        assert span.parent_span_id == handler.span_id
        assert handler.start_time_unix_nano - 10**18 < span.start_time_unix_nano <= span.end_time_unix_nano
    if "kept" in HANDED[what]:
        (span,) = spans
        kept = [attributes(event) for event in span.events] or [attributes(span)]
        assert all(seen["kept"] == 1 for seen in kept)
    if what in ("a value that raises", "a value in a list that raises", "a key that raises"):
        assert spans[0].dropped_attributes_count == 1
    assert handler.dropped_attributes_count == (what == "the handler's span")


RAISES = (
    HEAD
    + """
@tracer.start_as_current_span("decorated")
def decorated():
    raise Broken()
def used():
    span = tracer.start_span("used")
    with trace.use_span(span, end_on_exit=True):
        raise Broken()
def nested():
    with tracer.start_as_current_span("outer"):
        with tracer.start_as_current_span("nested"):
            raise Broken()
def handler(event, context):
    try:
        globals()[event]()
    except Broken as error:
        lines = []
        trace_back = error.__traceback__
        while trace_back is not None:
            lines.append(trace_back.tb_frame.f_code.co_filename)
            trace_back = trace_back.tb_next
        return [type(error).__name__, type(error.__context__).__name__, any("otel_xray" in line for line in lines)]
"""
)


@pytest.mark.parametrize("how", ["decorated", "used", "nested"])
def test_an_exception_with_a_broken_text_goes_on_as_it_is(start: Start, opentelemetry_api: Path, how: str) -> None:
    with start(RAISES.replace("{folder!r}", repr(str(opentelemetry_api)))) as function:
        assert function.invoke(how).json == ["Broken", "NoneType", False]
        function.frames.wait_for(5, 1)
        span = function.frames.named(how)
    assert (span.status.code, span.status.message) == (2, "Broken: ")
    assert attributes(span.events[0])["exception.type"] == "app.Broken"


COROUTINES = (
    HEAD
    + """
import asyncio
@tracer.start_as_current_span("decorated")
async def decorated():
    await asyncio.sleep(0.001)
    return trace.get_current_span().name
@tracer.start_as_current_span("plain")
def plain():
    return trace.get_current_span().name
def handler(event, context):
    asyncio.set_event_loop(asyncio.new_event_loop())
    return [asyncio.get_event_loop().run_until_complete(decorated()), plain(), plain()]
"""
)


def test_decorators_serve_functions_and_coroutines_again_and_again(start: Start) -> None:
    folder = bundled("opentelemetry-api-newest")
    with start(COROUTINES.replace("{folder!r}", repr(str(folder)))) as function:
        for count in range(2):
            assert function.invoke().json == ["decorated", "plain", "plain"]
            function.frames.wait_for(5, count + 1)
        names = [span.name for span in function.frames.ended()]
    assert names == ["decorated", "plain", "plain", "app.handler"] * 2
