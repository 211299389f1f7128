"""Oracle through oracledb, in both of its modes, and with coroutines."""

from __future__ import annotations

from _otel_xray_agent.libraries.sql.statement import Database, tell
from _otel_xray_agent.unseen import leave_unseen, named_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.libraries.sql.statement import Place
    from _otel_xray_agent.record import Recorder

_ORACLE = "oracle.db"
_ASKED = "_otel_xray_asked"
"""On a connection that is not awaited yet: where it will lead."""


def patch_cursor(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "oracledb", _ORACLE, _where)

    def execute(call: Call) -> str:
        cursor = call.arguments[0]
        # None: the one before, once more.
        return database.describe_statement(call, cursor, call.given(1, "statement") or cursor.statement)

    for name in ("Cursor", "AsyncCursor"):
        cursor = getattr(module, name, None)
        if cursor is not None:
            database.calls.record(cursor, "execute", execute, tell)
            database.batches(cursor, "executemany", "statement", "parameters")
            database.procedures(cursor, "callproc", "name")
            database.procedures(cursor, "callfunc", "name")


def patch_connection(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "oracledb", _ORACLE, _where)

    def created(call: Call) -> Place | None:
        return None if call.options.get("pool") is not None else _place(call.given(1, "dsn"), call.options)

    def awaited(call: Call) -> Place | None:
        options = {**(call.given(4, "kwargs") or {}), "params": call.given(3, "params")}
        return None if call.given(2, "pool") is not None else _place(call.given(1, "dsn"), options)

    database.connects(module.Connection, "__init__", created)
    if "_connect" in vars(getattr(module, "AsyncConnection", object)):
        # Older versions have a coroutine for it, whoever awaits that.
        database.connects(module.AsyncConnection, "_connect", awaited)
    elif hasattr(module, "connect_async"):
        _patch_await(module, database)


def patch_pool(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "oracledb", _ORACLE, _where)

    def waits(call: Call) -> Place | None:
        pool = call.arguments[0]
        host, port, service, _ = _place(pool.dsn, {})
        return None if pool.busy < pool.opened else (host, port, service, pool.username)

    database.connects(module.ConnectionPool, "acquire", waits, "acquire")


def _patch_await(module: ModuleType, database: Database) -> None:
    """What ``connect_async`` gives has yet to be awaited, and only then connects."""
    connect, connection = module.connect_async, module.AsyncConnection
    original = connection.__await__

    def connect_async(*arguments: Any, **options: Any) -> Any:
        try:
            made = connect(*arguments, **options)
        except BaseException as error:
            leave_unseen(error)
            raise
        try:
            if options.get("pool") is None:
                made.__dict__[_ASKED] = _place((*arguments, options.get("dsn"))[0], options)
        except Exception as error:  # the call comes first
            database.calls.complain("does not tell where it leads", error)
        return made

    async def connected(made: Any) -> Any:
        return await _Awaited(original, made)

    holder = type("holder", (), {"connected": connected})
    database.connects(holder, "connected", lambda call: call.arguments[0].__dict__.get(_ASKED))
    recorded = vars(holder)["connected"]

    def __await__(self: Any) -> Any:
        return recorded(self).__await__()

    connection.__await__ = named_as(__await__, original)
    module.connect_async = named_as(connect_async, connect)


class _Awaited:
    """A connection as its own class lets it be awaited."""

    def __init__(self, original: Any, made: Any) -> None:
        self._original = original
        self._made = made

    def __await__(self) -> Any:
        return self._original(self._made)


def _where(cursor: Any) -> Place:
    connection = cursor.connection
    host, port, service, _ = _place(connection.dsn, {})
    return host, port, service, connection.username


def _place(dsn: Any, options: dict[str, Any]) -> Place:
    """By its text alone: a name in ``tnsnames.ora`` stays a name."""
    host, port, service = options.get("host"), options.get("port"), options.get("service_name") or options.get("sid")
    if isinstance(dsn, str) and "(" in dsn:
        fields = {}
        for part in dsn.replace(")", "(").split("("):
            name, sign, value = part.partition("=")
            if sign and value.strip():
                fields.setdefault(name.strip().upper(), value.strip())
        host, port = fields.get("HOST"), fields.get("PORT")
        service = fields.get("SERVICE_NAME") or fields.get("SID")
    elif isinstance(dsn, str) and dsn:
        address, _, service = dsn.rpartition("://")[2].lstrip("/").rpartition("@")[2].partition("/")
        host, _, port = address.partition(":")
        service = service.partition("?")[0].partition(":")[0] or None
    params = options.get("params")
    user = options.get("user") or (params.user if params is not None else None)
    return host, port if str(port or "").isdecimal() else None, service, user
