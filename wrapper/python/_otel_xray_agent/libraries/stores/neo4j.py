"""Neo4j: statements without their values, and the wait for a connection."""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Calls
from _otel_xray_agent.libraries.stores import describe, fail, first_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.record import Recorder

_CONNECTING = ("Workspace", "AsyncWorkspace")
_RUNNING = ("Session", "AsyncSession", "TransactionBase", "AsyncTransactionBase")


def patch(module: ModuleType, recorder: Recorder) -> None:
    """Of the modules that have its sessions, transactions, and what both get their connections from."""

    def connect(call: Call) -> str:
        address, database = _where(call.arguments[0])
        describe(call.span, "neo4j", "connect", *address, database)
        return f"connect {database}" if database else "connect"

    def run(call: Call) -> str:
        address, database = _where(call.arguments[0])
        query = call.given(1, "query")
        text = str(getattr(query, "text", query))
        operation = first_word(text) or "neo4j"
        describe(call.span, "neo4j", operation, *address, database)
        call.span.attributes["db.query.text"] = text
        return f"{operation} {database}" if database else operation

    def tell(call: Call, result: Any, error: BaseException | None) -> bool:
        if error is not None:
            fail(call.span, getattr(error, "code", None))
        return False

    calls = Calls(recorder, "neo4j", "a Neo4j call")
    for names, method, about in ((_CONNECTING, "_connect", connect), (_RUNNING, "run", run)):
        for name in names:
            if name in vars(module) and vars(module)[name].__module__ == module.__name__:
                calls.record(vars(module)[name], method, about, tell)


def _where(own: Any) -> tuple[tuple[Any, Any], Any]:
    """The address and the database, of a session or of a transaction."""
    pool = getattr(own, "_pool", None)
    address = getattr(pool, "address", None)
    if address is None:
        address = getattr(getattr(own, "_connection", None), "unresolved_address", None)
    config = getattr(own, "_config", None)
    database = getattr(config, "database", None) or getattr(own, "_database", None)
    return (tuple(address)[:2] if address is not None else (None, None)), database  # type: ignore[return-value]
