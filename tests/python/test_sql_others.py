"""Drivers of databases that no test can run: against PostgreSQL where that will do, else against a silent port."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from conftest import Start
from installed import tool
from real_servers import DATABASE, OLD_USER, PASSWORD, USER
from sql_functions import POSTGRESQL
from stage import attributes, bundled
from test_sql import CANARY, Port, announced, sent, where

ODBC = f"DATABASE={DATABASE};UID={USER};PWD={PASSWORD};DRIVER="
CONNECTS = {
    "redshift_connector": (
        "import redshift_connector as driver\ndef connect(port):\n"
        f"    who = dict(user={USER!r}, password={PASSWORD!r}, database={DATABASE!r})\n"
        "    return driver.connect(host='127.0.0.1', port=port, ssl=False, **who)\n",
        "aws.redshift",
    ),
    "oracledb": (
        "import oracledb as driver\ndef connect(port):\n"
        f"    dsn = '127.0.0.1:%s/{DATABASE}' % port\n"
        f"    return driver.connect(user={USER!r}, password={PASSWORD!r}, dsn=dsn)\n",
        "oracle.db",
    ),
    "oracledb-async": (
        "import asyncio, oracledb as driver\nasync def main(port):\n"
        f"    dsn = '127.0.0.1:%s/{DATABASE}' % port\n"
        f"    async with driver.connect_async(user={USER!r}, password={PASSWORD!r}, dsn=dsn) as made:\n"
        "        return made\n"
        "def connect(port):\n    return asyncio.run(main(port))\n",
        "oracle.db",
    ),
    "pymssql": (
        f"import pymssql as driver\ndef connect(port):\n    return driver.connect('127.0.0.1', {USER!r}, "
        f"{PASSWORD!r}, {DATABASE!r}, port=port)\n",
        "microsoft.sql_server",
    ),
    "pyodbc": (
        "import os, pyodbc as driver\ndef connect(port):\n"
        f"    return driver.connect('SERVER=127.0.0.1;PORT=%s;{ODBC}%s' % (port, os.environ['ODBC_DRIVER']))\n",
        "postgresql",
    ),
    "snowflake": (
        "import snowflake.connector as driver\ndef connect(port):\n    return driver.connect(account='shop', "
        f"user={USER!r}, password={PASSWORD!r}, host='127.0.0.1', port=port, protocol='http', database={DATABASE!r})\n",
        "snowflake",
    ),
}
"""How each connects, and the system it is for."""
VERSION = re.compile(rb"(server_version\0)([^\0]+)")
"""As a server tells it, in a message whose length is to stay."""
CALL = "def handler(event, context):\n    connect(event)\n"


@pytest.fixture(params=CONNECTS)
def driver(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    """Its name, a function that connects, and the system it is for."""
    source, system = CONNECTS[request.param]
    path = f"import sys\nsys.path.insert(1, {str(bundled('sql-others'))!r})\n"
    return request.param, path + source + CALL, system


def libraries() -> dict[str, str]:
    """pyodbc needs ODBC's, which a function brings along in a layer of its own."""
    folders = [str(path) for path in tool("server", "odbc").glob("**/lib/*-linux-gnu")]
    (driver,) = tool("server", "odbc").glob("usr/lib/*/odbc/psqlodbcw.so")
    return {"LD_LIBRARY_PATH": ":".join(folders), "ODBC_DRIVER": str(driver)}


def test_pl_32_a_server_that_does_not_answer_is_what_connect_waits_for(
    start: Start, silent_port: int, driver: tuple[str, str, str]
) -> None:
    _, source, system = driver
    with start(source, variables=libraries()) as function:
        function.invoke(silent_port, answered=False)
        waiting = announced(function, f"connect {DATABASE}")
    assert attributes(waiting) == {**where(silent_port), "db.system.name": system}
    assert PASSWORD.encode() not in sent(function)


def test_disabled_by_name(start: Start, closed_port: int, driver: tuple[str, str, str]) -> None:
    name, source, _ = driver
    disabled = f"{name.partition('-')[0]},http.client,urllib3,botocore"
    variables = {**libraries(), "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": disabled}
    with start(source, variables=variables) as function:
        assert function.invoke(closed_port).comparable[0] == "error"
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]


@pytest.fixture
def redshift_port(server_port: Port) -> Iterator[int]:
    """PostgreSQL behind a door that takes out of a client's first message what only Redshift knows, and tells a version
    of Redshift's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    server = socket.create_connection(("127.0.0.1", server_port(POSTGRESQL)))
                    length, version = struct.unpack("!II", client.recv(8, socket.MSG_WAITALL))
                    words = client.recv(length - 8, socket.MSG_WAITALL).rstrip(b"\0").split(b"\0")
                    pairs = dict(zip(words[::2], words[1::2]))
                    known = {name: value for name, value in pairs.items() if name in (b"user", b"database")}
                    kept = b"".join(name + b"\0" + value + b"\0" for name, value in known.items()) + b"\0"
                    server.sendall(struct.pack("!II", len(kept) + 8, version) + kept)
                    for one, other in ((client, server), (server, client)):
                        threading.Thread(target=pump, args=(one, other), daemon=True).start()

        def pump(one: socket.socket, other: socket.socket) -> None:
            with suppress(OSError):
                while data := one.recv(65536):
                    other.sendall(VERSION.sub(lambda found: found[1] + b"8.0.2".ljust(len(found[2])), data))
            one.close()
            other.close()

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])


REDSHIFT = """
def handler(event, context):
    connection = connect(event)
    cursor = connection.cursor()
    cursor.execute("SELECT %s", (CANARY,))
    rows = cursor.fetchall()
    cursor.execute("CREATE TEMPORARY TABLE orders (name VARCHAR(80))")
    cursor.executemany("INSERT INTO orders (name) VALUES (%s)", [("a",), ("b",)])
    try:
        cursor.execute("SELECT name FROM missing")
    except driver.Error as error:
        return [list(row) for row in rows]
""".replace("CANARY", repr(CANARY))


def test_redshift_connectors_statements(start: Start, redshift_port: int) -> None:
    path = f"import sys\nsys.path.insert(1, {str(bundled('sql-others'))!r})\n"
    with start(path + CONNECTS["redshift_connector"][0].replace(USER, OLD_USER) + REDSHIFT) as function:
        answer = function.invoke(redshift_port).json
        assert answer == [[CANARY]], answer
        function.frames.wait_for(5, 1)
        connect, select, create, insert, missing = function.frames.ended()[:-1]
    names = [span.name.split()[0] for span in (connect, select, create, insert, missing)]
    assert names == ["connect", "SELECT", "CREATE", "INSERT", "SELECT"]
    statement = {"db.query.text": "SELECT %s", "db.operation.name": "SELECT"}
    assert attributes(select) == {
        **where(redshift_port),
        **statement,
        "db.system.name": "aws.redshift",
        "db.user": OLD_USER,
    }
    assert attributes(insert)["db.operation.batch.size"] == 2
    assert attributes(missing)["error.type"] == "42P01"
    assert CANARY.encode() not in sent(function)


PYODBC = (
    """
import sqlalchemy
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.connectors.pyodbc import PyODBCConnector
from sqlalchemy.dialects import registry
class Odbc(PyODBCConnector, PGDialect):
    driver = "pyodbc"
    supports_statement_cache = True
registry.impls["postgresql.pyodbc"] = lambda: Odbc
def handler(event, context):
    url = sqlalchemy.engine.URL.create("postgresql+pyodbc", USER, host="127.0.0.1", port=event, database=DATABASE)
    engine = sqlalchemy.create_engine(url, creator=lambda: connect(event), _initialize=False)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT ?", (CANARY,)).fetchall()
        try:
            connection.exec_driver_sql("SELECT name FROM missing")
        except sqlalchemy.exc.ProgrammingError:
            return [list(row) for row in rows]
""".replace("CANARY", repr(CANARY))
    .replace("USER", repr(USER))
    .replace("DATABASE", repr(DATABASE))
)


def test_pl_31_what_odbc_is_sent_is_seen_where_sqlalchemy_sends_it(start: Start, server_port: Port) -> None:
    path = f"import sys\nsys.path.insert(1, {str(bundled('sql-others'))!r})\n"
    port = server_port(POSTGRESQL)
    with start(path + CONNECTS["pyodbc"][0] + PYODBC, variables=libraries()) as function:
        assert function.invoke(port).json == [[CANARY]]
        function.frames.wait_for(5, 1)
        *found, _ = function.frames.ended()
    connect, select, missing = found
    assert (connect.name, select.name, missing.name) == (f"connect {DATABASE}", *[f"SELECT {DATABASE}"] * 2)
    statement = {"db.query.text": "SELECT ?", "db.operation.name": "SELECT"}
    assert attributes(select) == {**where(port), **statement, "db.system.name": "postgresql"}
    assert attributes(missing)["error.type"] == "42P01"
    assert CANARY.encode() not in sent(function)
