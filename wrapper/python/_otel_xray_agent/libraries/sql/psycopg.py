"""PostgreSQL through psycopg 3, and the wait for a connection of its pools."""

from __future__ import annotations

import sys

from _otel_xray_agent.libraries.sql.statement import Database, from_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.libraries.sql.statement import Place
    from _otel_xray_agent.record import Recorder

_FETCHES = ("fetchone", "fetchmany", "fetchall", "scroll")


def patch(module: ModuleType, recorder: Recorder) -> None:
    """Of each of its modules: whichever of the classes it has."""
    database = Database(recorder, "psycopg", "postgresql", _where)
    for name in ("Cursor", "AsyncCursor", "ServerCursor", "AsyncServerCursor"):
        cursor = getattr(module, name, None)
        if cursor is not None:
            database.statements(cursor, "execute")
            database.batches(cursor, "executemany", many="params_seq")
            if "Server" in name:
                database.fixed(cursor, "FETCH", *_FETCHES)
    for name in ("Connection", "AsyncConnection"):
        connection = getattr(module, name, None)
        if connection is not None:
            database.connects(connection, "connect", _asked_for)


def patch_pool(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "psycopg", "postgresql", _where)
    for name in ("ConnectionPool", "AsyncConnectionPool"):
        pool = getattr(module, name, None)
        if pool is not None:
            database.connects(pool, "getconn", _waits, "acquire")


def _where(cursor: Any) -> Place:
    info = cursor._conn.info
    return info.host, info.port, info.dbname, info.user


def _asked_for(call: Call) -> Place:
    return _parsed(call.given(1, "conninfo") or "", call.options)


def _waits(call: Call) -> Place | None:
    """Only where no connection lies ready."""
    pool = call.arguments[0]
    if pool._pool:
        return None
    conninfo, options = pool.conninfo, pool.kwargs
    return _parsed(conninfo if isinstance(conninfo, str) else "", options if isinstance(options, dict) else {})


def _parsed(conninfo: str, options: dict[str, Any]) -> Place:
    """By psycopg's own parser, which the function has loaded."""
    parsed = sys.modules["psycopg.conninfo"].conninfo_to_dict(conninfo) if conninfo else {}
    return from_options({**parsed, **options})
