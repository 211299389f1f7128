"""What runs in a thread of the function's hangs below the span around its beginning (PL-28, PL-71 to PL-73)."""

from __future__ import annotations

import pytest
from conftest import Start, Website
from stage import attributes

HEAD = """
import asyncio, concurrent.futures, threading, urllib.request
from opentelemetry import trace
tracer = trace.get_tracer("shop")
pool = concurrent.futures.ThreadPoolExecutor(1)
def get(url):
    urllib.request.urlopen(url).read()
"""
WAYS = {
    "a thread": """
def run(url):
    thread = threading.Thread(target=get, args=(url,))
    thread.start()
    thread.join()
""",
    "a subclass of a thread": """
class Getting(threading.Thread):
    def __init__(self, url):
        super().__init__()
        self.url = url
    def run(self):
        get(self.url)
def run(url):
    thread = Getting(url)
    thread.start()
    thread.join()
""",
    "a timer": """
def run(url):
    timer = threading.Timer(0, get, (url,))
    timer.start()
    timer.join()
""",
    "a pool": "def run(url):\n    pool.submit(get, url).result()\n",
    "a pool's map": "def run(url):\n    list(pool.map(get, [url]))\n",
    "an executor of asyncio's": """
async def main(url):
    await asyncio.get_running_loop().run_in_executor(pool, get, url)
def run(url):
    asyncio.run(main(url))
""",
    "to_thread": """
def run(url):
    asyncio.run(asyncio.to_thread(get, url))
""",
    "tasks": """
async def main(url):
    await asyncio.gather(asyncio.to_thread(get, url), asyncio.sleep(0))
def run(url):
    asyncio.run(main(url))
""",
}
HANDLER = """
def handler(event, context):
    run(event + "/none")
    for name in ("one", "two"):
        with tracer.start_as_current_span(name):
            run(event + "/" + name)
    run(event + "/none")
"""


@pytest.mark.parametrize("way", WAYS)
def test_each_call_is_below_the_span_around_it(start: Start, website: Website, way: str) -> None:
    with start(HEAD + WAYS[way] + HANDLER) as function:
        # A thread of a pool outlives the invocation in which it was begun.
        for count in (1, 2):
            assert function.invoke(website.url).json is None
            function.frames.wait_for(5, count)
        assert function.output() == ""
    ended = function.frames.ended()
    for spans in (ended[:7], ended[7:]):
        named = {span.span_id: span.name for span in spans}
        calls = [(attributes(span)["url.full"].rpartition("/")[2], span) for span in spans if span.name == "GET"]
        assert [(path, named[call.parent_span_id]) for path, call in calls] == [
            ("none", "app.handler"),
            ("one", "one"),
            ("two", "two"),
            ("none", "app.handler"),
        ]


OUTLIVES = """
begun, later = threading.Event(), threading.Event()
def work(url):
    with tracer.start_as_current_span("long"):
        get(url + "/first")
        begun.set()
        later.wait(20)
    get(url + "/second")
def handler(event, context):
    global running
    if not begun.is_set():
        with tracer.start_as_current_span("one"):
            running = BEGIN
            begun.wait(20)
    else:
        later.set()
        running.END(20)
"""
BEGINS = {
    "a thread": ("threading.Thread(target=work, args=(event,)); running.start()", "join"),
    "a pool": ("pool.submit(work, event)", "result"),
}


@pytest.mark.parametrize("way", BEGINS)
def test_what_outlives_its_invocation_keeps_its_span_and_then_belongs_to_the_one_that_runs(
    start: Start, website: Website, way: str
) -> None:
    begin, end = BEGINS[way]
    with start(HEAD + OUTLIVES.replace("BEGIN", begin).replace("END", end)) as function:
        for count in (1, 2):
            assert function.invoke(website.url).json is None
            function.frames.wait_for(5, count)
        assert function.output() == ""
    first_handler, second_handler = (span for span in function.frames.ended() if span.name == "app.handler")
    first, second = (span for span in function.frames.ended() if span.name == "GET")
    one, long = function.frames.named("one"), function.frames.named("long")
    assert [one.parent_span_id, long.parent_span_id] == [first_handler.span_id, one.span_id]
    assert (first.parent_span_id, second.parent_span_id) == (long.span_id, second_handler.span_id)
    assert long.end_time_unix_nano > first_handler.end_time_unix_nano


SAME = """
def fails():
    raise ValueError("lost")
def handler(event, context):
    import contextvars, traceback
    mine = contextvars.ContextVar("mine", default="nothing")
    mine.set("mine")
    seen = []
    with tracer.start_as_current_span("one"):
        thread = threading.Thread(target=lambda: seen.append((mine.get(), threading.current_thread().__dict__.keys())))
        thread.start()
        thread.join()
        seen[0] = (seen[0][0], sorted(key for key in seen[0][1] if not key.startswith("_")))
        seen.append(pool.submit(mine.get).result())
        try:
            pool.submit(fails).result()
        except ValueError as error:
            seen.append([(frame.name, frame.line) for frame in traceback.extract_tb(error.__traceback__)])
        hooked = []
        threading.excepthook = lambda given: hooked.append(
            [frame.name for frame in traceback.extract_tb(given.exc_traceback)]
        )
        thread = threading.Thread(target=fails)
        thread.start()
        thread.join()
        seen.append(hooked)
        try:
            thread.start()
        except RuntimeError as error:
            seen.append([str(error), [frame.name for frame in traceback.extract_tb(error.__traceback__)]])
    seen.append([threading.Thread.start.__qualname__, threading.Thread.start.__module__])
    return seen
"""


def test_nothing_else_is_different_with_the_layer(start: Start) -> None:
    answers = []
    for layer in (False, True):
        with start(HEAD + SAME, layer=layer) as function:
            answers.append(function.invoke().json)
    assert answers[0] == answers[1]


def test_disabled_by_name(start: Start, website: Website) -> None:
    variables = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "threading"}
    with start(HEAD + WAYS["a thread"] + HANDLER, variables=variables) as function:
        function.invoke(website.url)
        function.frames.wait_for(5, 1)
    root = function.frames.named("app.handler").span_id
    assert {span.parent_span_id for span in function.frames.ended() if span.name == "GET"} == {root}


def test_without_the_api_threads_are_left_alone(start: Start) -> None:
    source = (
        "import sys, threading\ndef handler(event, context):\n    return threading.Thread.start.__code__.co_filename\n"
    )
    with start(source) as function:
        assert "otel_xray" not in function.invoke().json
