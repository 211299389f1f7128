"""SQL Server through pymssql, and what ODBC reaches through pyodbc.

Both are made of C types that take no functions, and whose objects are of no other class: connections are recorded of
them, and statements where SQLAlchemy sends them.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.sql.statement import NOWHERE, Database, from_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.libraries.sql.statement import Place
    from _otel_xray_agent.record import Recorder

_ODBC = (
    ("sql server", "microsoft.sql_server"),
    ("freetds", "microsoft.sql_server"),
    ("postgres", "postgresql"),
    ("psqlodbc", "postgresql"),
    ("maria", "mariadb"),
    ("mysql", "mysql"),
    ("oracle", "oracle.db"),
    ("redshift", "aws.redshift"),
    ("snowflake", "snowflake"),
)
"""What is in the name of a driver, and the system that it is for."""


def patch_pymssql(module: ModuleType, recorder: Recorder) -> None:
    def place(call: Call) -> Place:
        names = ("server", "user", "password", "database")
        host, port, database, user = from_options(
            {**dict(zip(names, call.arguments)), **call.options}, (None, 1433, None, None)
        )
        host, _, given = str(host or "").partition(":")
        return host.partition(",")[0].partition("\\")[0], given if given.isdecimal() else port, database, user

    Database(recorder, "pymssql", "microsoft.sql_server", lambda _: NOWHERE).connects(module, "connect", place)


def patch_pyodbc(module: ModuleType, recorder: Recorder) -> None:
    Database(recorder, "pyodbc", _odbc_system, lambda _: NOWHERE).connects(module, "connect", _odbc_place)


def _odbc_system(call: Call) -> str:
    driver = str(_fields(call).get("driver") or "").lower()
    return next((system for part, system in _ODBC if part in driver), "other_sql")


def _fields(call: Call) -> dict[str, Any]:
    """What the connection string says, and the arguments."""
    fields = {str(name).lower(): value for name, value in call.options.items()}
    for part in str((*call.arguments, "")[0]).split(";"):
        name, sign, value = part.partition("=")
        if sign:
            fields.setdefault(name.strip().lower(), value.strip().strip("{}"))
    return fields


def _odbc_place(call: Call) -> Place:
    fields = _fields(call)
    server = str(fields.get("server") or fields.get("servername") or fields.get("dsn") or "")
    host, _, port = server[4 if server.startswith("tcp:") else 0 :].partition(",")
    return host, port or fields.get("port"), fields.get("database"), fields.get("uid") or fields.get("user")
