"""The ids of the current span in what the function logs: through ``logging``, structlog and loguru.

Called by the import hook where OTEL_XRAY_LOG_TRACE_IDS asks for it.
"""

from __future__ import annotations

from _otel_xray_agent.record.trace import SAMPLED
from _otel_xray_agent.record.wire import complain, told
from _otel_xray_agent.unseen import leave_unseen, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder

_OPTIONS = 9
"""What loguru hands on of a message, its depth in the stack and what it is bound to among it."""
_DEPTH, _EXTRA = 1, 8


def patch(logging: ModuleType, recorder: Recorder) -> None:
    """Formats find the ids on every record; that of the runtime's text format shows them behind the message.

    Not by a record factory: what the function itself gives as ``extra`` under such a name would be refused.
    """
    original = logging.Logger.makeRecord

    def makeRecord(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            record = original(self, *arguments, **options)
        except BaseException as error:
            leave_unseen(error)
            raise
        record.__dict__.update(_ids(recorder, record.__dict__))
        return record

    replace(logging.Logger, makeRecord=makeRecord)
    for handler in logging.getLogger().handlers:
        formatter = handler.formatter
        # Only that of the runtime has it.
        if "%(aws_request_id)s" in (getattr(formatter, "_fmt", None) or ""):
            _show(formatter)


def _show(formatter: Any) -> None:
    original = formatter.formatMessage

    def formatMessage(record: Any) -> str:
        shown: str = original(record)
        ids = record.__dict__
        trace_id = ids.get("trace_id")
        if trace_id is None or str(trace_id) in shown:
            return shown
        said = " ".join(f"{name}={ids[name]}" for name in ("trace_id", "span_id", "xray_trace_id") if name in ids)
        return f"{shown[:-1]} {said}\n" if shown.endswith("\n") else f"{shown} {said}"

    formatter.formatMessage = formatMessage


def patch_structlog(module: ModuleType, recorder: Recorder) -> None:
    original = module.BoundLoggerBase._process_event

    def _process_event(self: Any, method_name: Any, event: Any, event_kw: Any) -> Any:
        try:
            event_kw = {**_ids(recorder, self._context), **event_kw}
        except Exception as error:  # the line comes first
            complain("structlog", f"a log line has no ids: {told(error)}")
        try:
            return original(self, method_name, event, event_kw)
        except BaseException as error:
            leave_unseen(error)
            raise

    replace(module.BoundLoggerBase, _process_event=_process_event)


def patch_loguru(module: ModuleType, recorder: Recorder) -> None:
    original = module.Logger._log

    def _log(self: Any, *arguments: Any) -> Any:
        *before, options, message, values, named = arguments
        try:
            return original(self, *before, _with_ids(options, recorder), message, values, named)
        except BaseException as error:
            leave_unseen(error)
            raise

    options = getattr(module.Logger(None, *[None] * _OPTIONS), "_options", ())
    if type(options) is not tuple or len(options) != _OPTIONS:
        raise TypeError(f"its options are {len(options)}")
    replace(module.Logger, _log=_log)


def _with_ids(options: Any, recorder: Recorder) -> Any:
    try:
        changed = list(options)
        if len(changed) != _OPTIONS:
            return options
        # It looks for the caller that many frames up: another one comes between.
        changed[_DEPTH] += 1
        changed[_EXTRA] = {**_ids(recorder, ()), **changed[_EXTRA]}
        return tuple(changed)
    except Exception as error:  # the line comes first
        complain("loguru", f"a log line has no ids: {told(error)}")
        return options


def _ids(recorder: Recorder, present: Container[str]) -> dict[str, str]:
    """None outside of an invocation. What the function says itself stays: in both forms, W3C's and X-Ray's."""
    try:
        span = recorder.current()
    except Exception as error:  # the line comes first
        complain("logging", f"a log line has no ids: {told(error)}")
        return {}
    if span is None:
        return {}
    trace_id = span.trace_id.hex()
    ids = {
        "trace_id": trace_id,
        "span_id": span.span_id.hex(),
        "trace_flags": "01" if span.flags & SAMPLED else "00",
        "xray_trace_id": f"1-{trace_id[:8]}-{trace_id[8:]}",
    }
    return {name: value for name, value in ids.items() if name not in present}
