"""SQLAlchemy: its first questions to a server as one call, the wait for a connection of its pool, and the statements of
drivers that no other file here records.

What runs inside of the process has no server, and is left alone.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import around
from _otel_xray_agent.libraries.sql.statement import NOWHERE, Database, tell
from _otel_xray_agent.unseen import leave_unseen, named_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.libraries.sql.statement import Place
    from _otel_xray_agent.record import Recorder

_RECORDED = (
    "psycopg2",
    "psycopg",
    "psycopg_async",
    "asyncpg",
    "pg8000",
    "pymysql",
    "aiomysql",
    "mysqldb",
    "mysqlconnector",
    "redshift_connector",
    "oracledb",
    "oracledb_async",
    "snowflake",
)
"""Drivers, as dialects name them, whose own functions are recorded."""
_IN_PROCESS = ("sqlite", "duckdb")
_SYSTEMS = {"mssql": "microsoft.sql_server", "oracle": "oracle.db", "redshift": "aws.redshift"}
_KNOWN = ("postgresql", "mysql", "mariadb", "snowflake", "cockroachdb", "clickhouse", "trino", "teradata", "hive")
_PLACE = "_otel_xray_place"
"""On a pool: where its engine's connections lead."""


def patch_dialect(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "sqlalchemy", _system, lambda dialect: NOWHERE)

    def describing(context_at: int, many: bool) -> Any:
        def describe(call: Call) -> str | None:
            dialect = call.arguments[0]
            if dialect.driver in _RECORDED or dialect.name in _IN_PROCESS:
                return None
            if many:
                database.describe_batch(call, call.given(3, "parameters"))
            name = database.describe_statement(call, dialect, call.given(2, "statement"))
            place = _of_context(call.given(context_at, "context"))
            return (
                name
                if place is None
                else database.describe(call, call.span.attributes["db.operation.name"] or "", place, dialect)
            )

        return describe

    dialect = module.DefaultDialect
    database.calls.record(dialect, "do_execute", describing(4, many=False), tell)
    database.calls.record(dialect, "do_executemany", describing(4, many=True), tell)
    database.calls.record(dialect, "do_execute_no_params", describing(3, many=False), tell)


def patch_engine(module: ModuleType, recorder: Recorder) -> None:
    """What a dialect asks on its first connection: a version, a schema, settings, one statement each."""
    engine = module.Engine
    original = engine.__init__
    database = Database(recorder, "sqlalchemy", _system, lambda dialect: NOWHERE)

    def __init__(self: Any, *arguments: Any, **options: Any) -> None:
        try:
            original(self, *arguments, **options)
        except BaseException as error:
            leave_unseen(error)
            raise
        try:
            _follow(self)
        except Exception as error:  # the engine comes first
            database.calls.complain("is not recorded to its beginning", error)

    def _follow(made: Any) -> None:
        dialect, place = made.dialect, _of_url(made.url)
        if dialect.name in _IN_PROCESS:
            return
        made.pool.__dict__[_PLACE] = dialect, place

        def describe(call: Call) -> str:
            return database.describe(call, "initialize", place, dialect, is_operation=False)

        dialect.initialize = around(dialect.initialize, database.calls.begins(describe), database.calls.ends(tell))

    engine.__init__ = named_as(__init__, original)


def patch_pool(module: ModuleType, recorder: Recorder) -> None:
    def system(_: Any) -> str:
        return "other_sql"

    database = Database(recorder, "sqlalchemy", system, lambda pool: NOWHERE)

    def describe(call: Call) -> str | None:
        pool = call.arguments[0]
        # It makes another connection where it may, and that is a call of the driver's.
        if (
            _PLACE not in pool.__dict__
            or pool._max_overflow < 0
            or pool._overflow < pool._max_overflow
            or not pool._pool.empty()
        ):
            return None
        dialect, place = pool.__dict__[_PLACE]
        name = database.describe(call, "acquire", place, None, is_operation=False)
        call.span.attributes["db.system.name"] = _system(dialect)
        return name

    database.calls.record(module.QueuePool, "_do_get", describe, tell)


def _of_context(context: Any) -> Place | None:
    return None if context is None else _of_url(context.root_connection.engine.url)


def _of_url(url: Any) -> Place:
    return url.host, url.port, url.database, url.username


def _system(dialect: Any) -> str:
    name = str(dialect.name)
    return _SYSTEMS.get(name) or (name if name in _KNOWN else "other_sql")
