"""Cassandra: statements without their values, and what connecting takes."""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.stores import describe, fail, first_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span


def patch(module: ModuleType, recorder: Recorder) -> None:
    calls = Calls(recorder, "cassandra", "a Cassandra call")

    def connect(call: Call) -> str:
        keyspace = call.given(1, "keyspace")
        describe(call.span, "cassandra", "connect", *_where(call.arguments[0]), keyspace)
        return f"connect {keyspace}" if keyspace else "connect"

    def statement(call: Call) -> str:
        session, query = call.arguments[0], call.given(1, "query")
        text = _text(query)
        operation = "BATCH" if text is None else first_word(text) or "cassandra"
        describe(call.span, "cassandra", operation, *_where(session.cluster), session.keyspace)
        call.span.attributes["db.query.text"] = text
        if text is None:
            call.span.attributes["db.operation.batch.size"] = len(getattr(query, "_statements_and_parameters", ()))
        return f"{operation} {session.keyspace}" if session.keyspace else operation

    def answered(call: Call, result: Any, error: BaseException | None) -> bool:
        _told(call.span, getattr(result, "response_future", None), error)
        return False

    def sent(call: Call, future: Any, error: BaseException | None) -> bool:
        """It is over when the answer is here, in whichever thread."""
        if error is not None:
            return False
        over = calls.later(call, lambda span, came: _told(span, future, came))
        future.add_callbacks(over, over)
        return True

    calls.record(module.Cluster, "connect", connect)
    # Whoever waits may go on before the driver's own thread has called back.
    calls.record(module.Session, "execute", statement, answered)
    calls.record(module.Session, "execute_async", statement, sent)


def _where(cluster: Any) -> tuple[Any, Any]:
    points = getattr(cluster, "contact_points", None) or ()
    point = next(iter(points), None)
    if isinstance(point, tuple):
        return point[:2]
    return getattr(point, "address", point), getattr(cluster, "port", None)


def _text(query: Any) -> str | None:
    """As the statement was written, with its marks. None for a batch."""
    if isinstance(query, str):
        return query
    prepared = getattr(query, "prepared_statement", query)
    text = getattr(prepared, "query_string", None)
    return text if isinstance(text, str) else None


def _told(span: Span, future: Any, came: Any) -> BaseException | None:
    host = getattr(future, "_current_host", None)
    address = getattr(getattr(host, "endpoint", host), "address", None)
    if address is not None:
        span.attributes["server.address"] = str(address)
    if not isinstance(came, BaseException):
        return None
    fail(span, type(came).__name__)
    return came
