"""Processes that a function forks, as multiprocessing does: what they record is in the trace too, each span once."""

from __future__ import annotations

from conftest import Start, Website
from stage import bundled

# The lock is one that a thread of the parent holds while it forks: in the child nobody will release it.
FORKS = f"""
import gc, os, sys, urllib.request
sys.path.insert(1, {str(bundled("opentelemetry-api-newest"))!r})
from opentelemetry import trace
tracer = trace.get_tracer("t")
def in_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]
def handler(event, context):
    def child():
        urllib.request.urlopen(event["url"] + "/child").read()
        with tracer.start_as_current_span("in the child"):
            pass
    with tracer.start_as_current_span("before"):
        pass
    if event["held"]:
        wire, = [found for found in gc.get_objects() if type(found).__name__ == "Wire"]
        with wire._lock:
            status = in_child(child)
    else:
        status = in_child(child)
    with tracer.start_as_current_span("behind"):
        pass
    return status
"""


def test_what_a_forked_process_records_is_there_once(start: Start, website: Website) -> None:
    with start(FORKS) as function:
        assert function.invoke({"url": website.url, "held": False}).json == 0
        function.frames.wait_for(5, 1)
        function.frames.wait_for(4, 5)
        assert sorted(span.name for span in function.frames.ended()) == [
            "GET",
            "app.handler",
            "before",
            "behind",
            "in the child",
        ]
        root = function.frames.named("app.handler")
        assert {span.parent_span_id for span in function.frames.ended() if span is not root} >= {root.span_id}


def test_a_process_forked_while_something_is_written_does_not_wait_for_ever(start: Start, website: Website) -> None:
    with start(FORKS) as function:
        assert function.invoke({"url": website.url, "held": True}).json == 0
        function.frames.wait_for(5, 1)
        function.frames.wait_for(4, 5)
        assert "in the child" in [span.name for span in function.frames.ended()]
