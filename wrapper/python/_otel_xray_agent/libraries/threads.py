"""Threads and their pools: what runs in one hangs below the span that was current where it was begun.

Called where the function has loaded the OpenTelemetry API: without spans of its own that is the handler's anyway. The
agent's current span is handed on alone, nothing of the function's own context.
"""

from __future__ import annotations

from _otel_xray_agent.record.wire import complain, told
from _otel_xray_agent.unseen import leave_unseen, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder

_HELD = "_otel_xray_held"
"""On a thread, or a piece of work of a pool: where it was begun."""


def patch(threading: ModuleType, recorder: Recorder) -> None:
    thread = threading.Thread
    original_start, original_run = thread.start, thread._bootstrap_inner

    def start(self: Any) -> None:
        _note(self, recorder)
        try:
            original_start(self)
        except BaseException as error:
            leave_unseen(error)
            raise

    def _bootstrap_inner(self: Any) -> None:
        held = self.__dict__.pop(_HELD, None)
        if held is not None:
            try:
                # From Python 3.14 on a thread has a context that it runs in.
                context = self.__dict__.get("_context")
                if context is None:
                    recorder.resume(held)
                else:
                    context.run(recorder.resume, held)
            except Exception as error:  # the thread comes first
                _complain(error)
        original_run(self)

    replace(thread, start=start, _bootstrap_inner=_bootstrap_inner)


def patch_pools(module: ModuleType, recorder: Recorder) -> None:
    """A thread of a pool was begun by the first piece of work that found none; each piece has a place of its own."""
    work = module._WorkItem
    original_init, original_run = work.__init__, work.run

    def __init__(self: Any, *arguments: Any, **options: Any) -> None:
        original_init(self, *arguments, **options)
        _note(self, recorder)

    def run(self: Any, *arguments: Any) -> None:
        held = self.__dict__.pop(_HELD, None)
        tokens = recorder.resume(held)
        try:
            original_run(self, *arguments)
        finally:
            recorder.suspend(tokens)

    replace(work, __init__=__init__, run=run)


def _note(begun: Any, recorder: Recorder) -> None:
    try:
        held = recorder.hold()
        if held is not None:
            begun.__dict__[_HELD] = held
    except Exception as error:  # the thread comes first
        _complain(error)


def _complain(error: BaseException) -> None:
    complain("threads", f"a thread's place in the trace is not known: {told(error)}")
