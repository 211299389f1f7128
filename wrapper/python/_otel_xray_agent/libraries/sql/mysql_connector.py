"""MySQL and MariaDB through MySQL Connector/Python: in Python, over the C library, and with coroutines."""

from __future__ import annotations

from _otel_xray_agent.libraries.sql.statement import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.libraries.sql.statement import Place
    from _otel_xray_agent.record import Recorder


def patch_cursors(module: ModuleType, recorder: Recorder) -> None:
    """Every class of the module: those for prepared statements have functions of their own."""
    database = Database(recorder, "mysql", _system, lambda cursor: _where(_connection(cursor)))
    for cursor in _own_classes(module):
        database.statements(cursor, "execute", "executemulti", keyword="operation")
        database.batches(cursor, "executemany", "operation", "seq_params")
        database.procedures(cursor, "callproc")


def patch_connection(module: ModuleType, recorder: Recorder) -> None:
    database = Database(recorder, "mysql", "mysql", _where)
    for connection in _own_classes(module):
        database.connects(connection, "_open_connection", _own)


def patch_aio_connection(module: ModuleType, recorder: Recorder) -> None:
    Database(recorder, "mysql", "mysql", _where).connects(module.MySQLConnection, "connect", _own)


def _own_classes(module: ModuleType) -> list[type]:
    found = [value for value in vars(module).values() if isinstance(value, type)]
    return [value for value in found if value.__module__ == module.__name__]


def _own(call: Call) -> Place:
    return _where(call.arguments[0])


def _connection(cursor: Any) -> Any:
    connection = getattr(cursor, "_connection", None)
    return cursor._cnx if connection is None else connection


def _where(connection: Any) -> Place:
    # What lies in the object: its property `database` would ask the server.
    socket = connection._unix_socket
    host, port = (socket, None) if socket else (connection._host, connection._port)
    return host, port, connection._database, connection._user


def _system(cursor: Any) -> str:
    """By what the server has said of itself."""
    handshake = getattr(_connection(cursor), "_handshake", None)
    said = handshake.get("server_version_original") if isinstance(handshake, dict) else ""
    return "mariadb" if "mariadb" in str(said).lower() else "mysql"
