"""PostgreSQL through asyncpg: statements, prepared ones, cursors, copies, and the wait for a connection of its pool."""

from __future__ import annotations

from _otel_xray_agent.libraries.sql.statement import NOWHERE, Database, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.libraries.sql.statement import Place
    from _otel_xray_agent.record import Recorder


def _database(recorder: Recorder) -> Database:
    return Database(recorder, "asyncpg", "postgresql", _where)


def patch_connection(module: ModuleType, recorder: Recorder) -> None:
    database, connection = _database(recorder), module.Connection
    database.statements(connection, "_execute")
    database.batches(connection, "_executemany")
    database.statements(connection, "_copy_in", "_copy_out", keyword="copy_stmt")
    database.fixed(connection, "COPY", "copy_records_to_table")

    def execute(call: Call) -> str | None:
        own, query = call.arguments[0], call.given(1, "query")
        # What a pool sends with each connection that it takes back is nobody's statement.
        return None if query == own._reset_query else database.describe_statement(call, own, query)

    def prepare(call: Call) -> str | None:
        own, query = call.arguments[0], call.given(1, "query")
        record = call.options.get("record_class") or own._protocol.get_record_class()
        if own._stmt_cache.has((query, record, call.options.get("ignore_custom_codec", False))):
            return None
        database.describe_statement(call, own, query)
        return database.describe(call, "PREPARE", database.where(own), own)

    database.calls.record(connection, "execute", execute, tell)
    database.calls.record(connection, "_get_statement", prepare, tell)


def patch_prepared(module: ModuleType, recorder: Recorder) -> None:
    prepared = module.PreparedStatement
    _database(recorder).statements(prepared, "_PreparedStatement__do_execute", text=lambda own: own._query)
    _database(recorder).statements(prepared, "executemany", text=lambda own: own._query)


def patch_cursor(module: ModuleType, recorder: Recorder) -> None:
    database, cursor = _database(recorder), module.BaseCursor
    database.statements(cursor, "_bind", "_bind_exec", text=lambda own: own._query)
    database.fixed(cursor, "FETCH", "_exec")
    database.fixed(module.Cursor, "MOVE", "forward")


def patch_connect(module: ModuleType, recorder: Recorder) -> None:
    database = _database(recorder)
    # Host by host, whichever answers first.
    database.connects(module, "_connect_addr", _address)


def patch_pool(module: ModuleType, recorder: Recorder) -> None:
    _database(recorder).connects(module.Pool, "_acquire", _waits, "acquire")


def _where(target: Any) -> Place:
    connection = getattr(target, "_con", None) or getattr(target, "_connection", None) or target
    return _place(connection._addr, connection._params)


def _address(call: Call) -> Place:
    return _place(call.given(0, "addr"), call.given(2, "params"))


def _waits(call: Call) -> Place | None:
    pool = call.arguments[0]
    if not pool._queue.empty():
        return None
    for holder in pool._holders:
        if holder._con is not None:
            return _where(holder._con)
    return NOWHERE


def _place(address: Any, parameters: Any) -> Place:
    host, port = address if isinstance(address, tuple) else (address, None)
    return host, port, parameters.database, parameters.user
