"""PostgreSQL through pg8000, below its three interfaces, and Amazon Redshift through what was made of it."""

from __future__ import annotations

from _otel_xray_agent.libraries.sql.statement import Database, kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.libraries.sql.statement import Place
    from _otel_xray_agent.record import Recorder


def patch(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "pg8000", "postgresql", kept)
    connection = module.CoreConnection
    database.connects(connection, "__init__", _pg8000_place, keep=True)
    database.statements(connection, "execute_simple", "execute_unnamed", "prepare_statement", keyword="statement")
    database.statements(connection, "execute_named", at=5, keyword="statement")


def patch_cursor(module: ModuleType, recorder: Recorder) -> None:
    """A batch is a statement many times over, and one call."""
    database = Database(recorder, "pg8000", "postgresql", lambda cursor: kept(cursor._c))
    database.batches(module.Cursor, "executemany", "operation", "param_sets")


def patch_redshift(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "redshift_connector", "aws.redshift", kept)
    database.connects(module.Connection, "__init__", _redshift_place, keep=True)


def patch_redshift_cursor(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "redshift_connector", "aws.redshift", lambda cursor: kept(cursor._c))
    database.statements(module.Cursor, "execute", keyword="operation")
    database.batches(module.Cursor, "executemany", "operation", "param_sets")


def _pg8000_place(call: Call) -> Place:
    host = call.options.get("unix_sock") or call.given(2, "host") or "localhost"
    return host, call.given(4, "port") or 5432, call.given(3, "database"), call.given(1, "user")


def _redshift_place(call: Call) -> Place:
    return (
        call.given(4, "host") or "localhost",
        call.given(5, "port") or 5439,
        call.given(3, "database"),
        call.given(1, "user"),
    )
