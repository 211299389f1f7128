"""Snowflake: statements and connections, whatever sends them: a library of its own, or HTTP in older versions."""

from __future__ import annotations

from _otel_xray_agent.libraries.sql.statement import NOWHERE, Database, kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.libraries.sql.statement import Place
    from _otel_xray_agent.record import Recorder


def patch_cursor(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "snowflake", "snowflake", lambda cursor: kept(cursor._connection))
    for name in ("SnowflakeCursorBase", "SnowflakeCursor"):
        cursor = getattr(module, name, None)
        if cursor is not None:
            # `command` in the versions before the fifth; it comes first in all.
            database.statements(cursor, "execute", keyword="operation" if name.endswith("Base") else "command")
            database.batches(cursor, "executemany", "operation" if name.endswith("Base") else "command", "seqparams")


def patch_connection(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "snowflake", "snowflake", lambda connection: NOWHERE)
    for name in ("Connection", "SnowflakeConnection"):
        connection = vars(module).get(name)
        if isinstance(connection, type):
            database.connects(connection, "__init__", _place, keep=True)


def _place(call: Call) -> Place:
    options = call.options
    account = options.get("account")
    host = options.get("host") or (f"{account}.snowflakecomputing.com" if account else None)
    return host, options.get("port"), options.get("database"), options.get("user")
