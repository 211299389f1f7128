"""MySQL and MariaDB through PyMySQL, aiomysql and mysqlclient, whose cursors are alike."""

from __future__ import annotations

from _otel_xray_agent.libraries.sql.statement import Database, from_options, kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.libraries.sql.statement import Place
    from _otel_xray_agent.record import Recorder


def patch_pymysql_cursors(module: ModuleType, recorder: Recorder) -> None:
    _patch_cursor(recorder, "pymysql", module.Cursor, lambda cursor: _of_pymysql(cursor.connection))


def patch_pymysql(module: ModuleType, recorder: Recorder) -> None:
    # Not where the object is made: one that has lost its server connects again.
    database = Database(recorder, "pymysql", "mysql", _of_pymysql)
    database.connects(module.Connection, "connect", lambda call: _of_pymysql(call.arguments[0]))


def patch_aiomysql_cursors(module: ModuleType, recorder: Recorder) -> None:
    _patch_cursor(recorder, "aiomysql", module.Cursor, lambda cursor: _of_aiomysql(cursor.connection))


def patch_aiomysql(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "aiomysql", "mysql", _of_aiomysql)
    database.connects(module.Connection, "_connect", lambda call: _of_aiomysql(call.arguments[0]))


def patch_aiomysql_pool(module: ModuleType, recorder: Recorder) -> None:
    Database(recorder, "aiomysql", "mysql", _of_aiomysql).connects(module.Pool, "_acquire", _waits, "acquire")


def patch_mysqlclient_cursors(module: ModuleType, recorder: Recorder) -> None:
    _patch_cursor(recorder, "mysqlclient", module.BaseCursor, lambda cursor: kept(cursor.connection))


def patch_mysqlclient(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "mysqlclient", "mysql", kept)
    database.connects(module.Connection, "__init__", _mysqlclient_place, keep=True)


def _patch_cursor(recorder: Recorder, library: str, cursor: Any, where: Callable[[Any], Place]) -> None:
    database = Database(recorder, library, system, where)
    database.statements(cursor, "execute")
    database.batches(cursor, "executemany")
    database.procedures(cursor, "callproc")


def system(cursor: Any) -> str:
    """By what the server has said of itself."""
    try:
        said = str(cursor.connection.get_server_info()).lower()
    except Exception:  # a connection that is closed, or not yet open
        said = ""
    return "mariadb" if "mariadb" in said else "mysql"


def _of_pymysql(connection: Any) -> Place:
    socket = connection.unix_socket
    return socket or connection.host, None if socket else connection.port, connection.db, connection.user


def _of_aiomysql(connection: Any) -> Place:
    socket = connection._unix_socket
    return socket or connection._host, None if socket else connection._port, connection._db, connection._user


def _waits(call: Call) -> Place | None:
    """Only where each connection is in use and there may be no other."""
    pool = call.arguments[0]
    if pool._free or not pool.maxsize or pool.size < pool.maxsize:
        return None
    return _mysql_place(pool._conn_kwargs)


def _mysqlclient_place(call: Call) -> Place:
    names = ("host", "user", "password", "database", "port")
    return _mysql_place({**dict(zip(names, call.arguments[1:])), **call.options})


def _mysql_place(options: dict[str, Any]) -> Place:
    socket = options.get("unix_socket")
    host, port, database, user = from_options(options, ("localhost", 3306, None, None))
    return (socket, None, database, user) if socket else (host, port, database, user)
