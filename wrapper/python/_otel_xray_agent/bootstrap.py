"""What the runtime loads as its handler: starts the agent, loads the user's handler, and wraps it.

The file has the name of the runtime client's own, because the runtime leaves frames of files of that name out of the
error reports it sends: a function's error reads the same with and without the agent.
"""

from __future__ import annotations

import os
import sys
from time import time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.triggers.trigger import Trigger

_HELLO_VARIABLES = (
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "LAMBDA_TASK_ROOT",
    "AWS_XRAY_DAEMON_ADDRESS",
    "_AWS_XRAY_DAEMON_ADDRESS",
    "_AWS_XRAY_DAEMON_PORT",
)

_CHOICES = (
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
    "OTEL_PYTHON_ENABLED_INSTRUMENTATIONS",
    "OTEL_XRAY_LOG_TRACE_IDS",
)
"""Without one of these the instrumentations are those by default."""

_SERVICES_SIGNS = ("Records", "requestContext", "records", "detail-type", "StateMachine", "Context", "context")
"""One of these is in every event that tells what called the function."""

_PAUSED_ON = ((3, 9), (3, 11), (3, 12), (3, 13))
"""Versions on which holding the collector back shortens a cold start."""
_PATIENCE = 100_000
"""Objects that a function may make, while it loads, before the collector looks at them. The AWS SDK makes fewer; what
makes much garbage, or loads for ever, is not left alone with it."""


def _restore(environ: Any) -> str:
    """Puts back what the wrapper changed, so that the function sees what it would without the layer."""
    name: str = environ.pop("OTEL_XRAY_HANDLER", "")
    if sys.argv and sys.argv[-1] == environ.get("_HANDLER"):
        sys.argv[-1] = name
    environ["_HANDLER"] = name
    path = environ.pop("OTEL_XRAY_PYTHONPATH", None)
    if path is not None:
        if path:
            environ["PYTHONPATH"] = path[1:]
        else:
            environ.pop("PYTHONPATH", None)
        # What else is there would stand in front of the standard library. The agent's parts are found by their package.
        own = __file__.rpartition("/_otel_xray_agent/")[0]
        if own in sys.path:
            sys.path.remove(own)
    return name


def _start_agent(name: str, environ: Any) -> Recorder | None:
    try:
        import json

        from _otel_xray_agent import NAMES, QUIET, VERSION, Finder, record
        from _otel_xray_agent.record import wire

        hello = {
            "agent": "otel-xray-python",
            "agent_version": VERSION,
            "runtime": "python",
            "runtime_version": ".".join(map(str, sys.version_info[:3])),
            "pid": os.getpid(),
            "env": {key: environ[key] for key in _HELLO_VARIABLES if key in environ},
        }
        hello["env"]["_HANDLER"] = name
        socket_name = environ.get("OTEL_XRAY_AGENT_SOCKET") or "otel-xray"
        if socket_name != "otel-xray":
            from _otel_xray_agent import settings

            socket_name = settings.agent_socket(socket_name)
        started = record.Recorder(wire.Wire(socket_name, json.dumps(hello).encode()), environ)
        # During init, so that the extension knows before the first invocation that a done frame will come.
        started.wire.connect()
        disabled, named = QUIET, []
        if any(name in environ for name in _CHOICES):
            from _otel_xray_agent import settings

            disabled, named = settings.chosen(environ, NAMES, QUIET, wire.complain)
        Finder(started, disabled).install()
        if named:
            from _otel_xray_agent.libraries import contrib

            contrib.load(named)
        return started
    except Exception as error:  # whatever it is, the function must start
        # Messages of other kinds quote values, and these are the environment's.
        trouble = repr(error) if isinstance(error, (OSError, ImportError)) else type(error).__name__
        sys.stderr.write(f"[otel-xray] WARN: the Python agent could not start, the function is not traced: {trouble}\n")
        return None


class _Collector:
    """Holds the garbage collector back while the function loads: little of what is made then becomes garbage soon.

    What has been loaded is then as old as after the collections that are left out. The function sees its thresholds as
    they were, and when it sets them itself, disables the collector, collects or freezes, it has done so.
    """

    def __init__(self, gc: Any, *, keeps_frozen: bool) -> None:
        self._gc = gc
        self._keeps_frozen = keeps_frozen
        self._frozen = gc.get_freeze_count()
        self._own = gc.get_threshold()
        self._functions = gc.get_threshold, gc.set_threshold
        gc.get_threshold, gc.set_threshold = self._standing_in()
        self._functions[1](_PATIENCE, *self._own[1:])

    def _standing_in(self) -> tuple[Any, Any]:
        """Whoever has taken one of them along may keep it."""
        get, put = self._functions

        def get_threshold() -> Any:
            return self._own if self._functions else get()

        def set_threshold(*thresholds: Any) -> None:
            self._resume()
            try:
                put(*thresholds)
            except BaseException as error:
                from _otel_xray_agent.unseen import leave_unseen

                leave_unseen(error)
                raise

        for one, original in ((get_threshold, get), (set_threshold, put)):
            one.__module__, one.__qualname__, one.__doc__ = "gc", one.__name__, original.__doc__
        return get_threshold, set_threshold

    def _resume(self) -> None:
        if self._functions:
            gc = self._gc
            gc.get_threshold, gc.set_threshold = self._functions
            self._functions = ()
            gc.set_threshold(*self._own)

    def end(self) -> None:
        self._resume()
        gc = self._gc
        if gc.isenabled() and gc.get_freeze_count() == self._frozen:
            gc.freeze()
            if not self._keeps_frozen:
                gc.unfreeze()


def _pause_collector(environ: Any) -> _Collector | None:
    setting = environ.get("OTEL_XRAY_PYTHON_GC_FREEZE")
    choice: bool | None = None
    if setting:
        from _otel_xray_agent import settings

        choice, is_understood = settings.collector(setting)
        if not is_understood:
            sys.stderr.write(
                f"[otel-xray] WARN: OTEL_XRAY_PYTHON_GC_FREEZE={setting[:40]!r} is not understood: set it to auto, "
                "true or false; using the default (auto)\n"
            )
    if choice is False or (choice is None and sys.version_info[:2] not in _PAUSED_ON):
        return None
    import gc

    if not gc.isenabled() or not 0 < gc.get_threshold()[0] < _PATIENCE:
        return None
    return _Collector(gc, keeps_frozen=choice is True)


def _runtime_client() -> Any:
    client = sys.modules.get("awslambdaric.bootstrap")
    if client is None:
        import importlib

        client = importlib.import_module("awslambdaric.bootstrap")
    return client


def _header_of_thread(client: Any, environ: Any) -> Any:
    """What gives the trace header of the invocation that this thread runs. None where a process runs one at a time.

    With several in threads the variable is that of whichever came last.
    """
    if "AWS_LAMBDA_MAX_CONCURRENCY" not in environ or not hasattr(client, "update_xray_env_variable"):
        return None
    from _thread import _local

    noted = _local()
    original = client.update_xray_env_variable

    def update_xray_env_variable(xray_trace_id: Any) -> None:
        noted.header = xray_trace_id
        original(xray_trace_id)

    client.update_xray_env_variable = update_xray_env_variable
    return lambda: getattr(noted, "header", None)


def _wrap(function: Any, recorder: Recorder, name: str, environ: Any, header_of_thread: Any) -> Any:
    cold = True

    def handler(event: Any, context: Any) -> Any:
        nonlocal cold
        request_id = ""
        trigger = None
        try:
            request_id = str(getattr(context, "aws_request_id", "") or "")
            header = header_of_thread() if header_of_thread is not None else None
            header = header or environ.get("_X_AMZN_TRACE_ID") or getattr(context, "xray_trace_id", None) or ""
            deadline_ms = getattr(context, "_epoch_deadline_time_in_ms", 0)
            trigger = _trigger(event)
            recording = recorder.enter(
                name,
                header,
                request_id,
                deadline_ms if isinstance(deadline_ms, int) and deadline_ms > 0 else 0,
                _attributes(context, request_id, cold),
                trigger,
            )
            cold = False
        except Exception as error:  # the function comes first
            _say_once(error)
            recording = False
        try:
            result = function(event, context)
        except BaseException as error:
            if recording:
                _leave(recorder, request_id, error)
            from _otel_xray_agent.unseen import leave_unseen

            leave_unseen(error)
            raise
        if not recording:
            return result
        if trigger is not None and trigger.answered is not None:
            _note_answer(recorder, trigger, result)
        _leave(recorder, request_id, None)
        return result

    return handler


def _trigger(event: Any) -> Trigger | None:
    """What called the function, where the event tells."""
    if type(event) is dict:
        for sign in _SERVICES_SIGNS:
            if sign in event:
                try:
                    from _otel_xray_agent import triggers

                    return triggers.read(event)
                except Exception as error:  # the invocation is recorded without it
                    _say_once(error)
                    return None
    return None


def _note_answer(recorder: Recorder, trigger: Trigger, result: Any) -> None:
    try:
        if recorder.root is not None and trigger.answered is not None:
            trigger.answered(recorder.root, result)
    except Exception as error:  # the answer is on its way whatever it is
        _say_once(error)


def _leave(recorder: Recorder, request_id: str, error: BaseException | None) -> None:
    try:
        recorder.leave(request_id, error, _seen_by_callers(error) if error is not None else None)
    except Exception as trouble:  # the function comes first
        _say_once(trouble)


def _say_once(error: Exception) -> None:
    from _otel_xray_agent.record.wire import complain, told

    complain("handler", f"an invocation could not be recorded: {told(error)}")


def _loading_failed(recorder: Recorder | None, name: str, begun_ns: int, error: BaseException) -> None:
    """No handler's span will ever come: this one tells why."""
    if recorder is None:
        return
    try:
        seen_by_callers = _seen_by_callers(error)
        # What the runtime makes of an error hides where that came from.
        cause = error.__context__ if seen_by_callers and error.__context__ is not None else error
        recorder.loading_failed(f"load {name}", begun_ns, cause, seen_by_callers)
    except Exception as trouble:  # the function comes first
        _say_once(trouble)


def _seen_by_callers(error: BaseException) -> dict[str, Any]:
    """What callers are told where the runtime client raises an error of its own in the place of the function's."""
    kind, message = getattr(error, "exception_type", None), getattr(error, "msg", None)
    if type(error).__name__ != "FaultException" or kind is None:
        return {}
    return {"exception.type": str(kind), "exception.message": str(message)}


def _attributes(context: Any, request_id: str, cold: bool) -> dict[str, Any]:
    attributes = {"faas.invocation_id": request_id, "faas.coldstart": cold}
    arn = getattr(context, "invoked_function_arn", None)
    if isinstance(arn, str):
        attributes["cloud.resource_id"] = arn
        parts = arn.split(":")
        if len(parts) > 4 and parts[4]:
            attributes["cloud.account.id"] = parts[4]
    attributes["faas.name"] = getattr(context, "function_name", None)
    attributes["faas.version"] = getattr(context, "function_version", None)
    return attributes


def __getattr__(attribute: str) -> Any:
    """Gives the runtime the handler: the user's, loaded as the runtime would have loaded it, and wrapped.

    On demand rather than while this module is imported: a function that loads some frames deeper can load
    much slower, where the depth meets the end of a chunk of the interpreter's stack.
    """
    if attribute != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
    environ = os.environ
    name = _restore(environ)
    recorder = _start_agent(name, environ)
    client = _runtime_client()
    collector = _pause_collector(environ)
    begun_ns = time_ns()
    try:
        handler = client._get_handler(name)
    except AttributeError as error:
        # Raised while the user's module was imported. As it is, the runtime would take it for ours.
        _loading_failed(recorder, name, begun_ns, error)
        stand_in = type(type(error).__name__, (Exception,), {})(str(error))
        raise stand_in.with_traceback(sys.exc_info()[2]) from None
    except BaseException as error:  # also sys.exit() while the module is imported
        _loading_failed(recorder, name, begun_ns, error)
        raise
    finally:
        if collector is not None:
            collector.end()
    if recorder is not None:
        recorder.loaded()
        handler = _wrap(handler, recorder, name, environ, _header_of_thread(client, environ))
    globals()["handler"] = handler
    return handler
