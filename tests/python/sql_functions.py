"""Functions that use a database, one for each driver: how each connects and runs a statement, and what all do with it.

A driver's part has `connect(port)`, `run(connection, statement, *values)` and `many(connection, statement, rows)`, as
coroutine functions where the driver has those.
"""

from __future__ import annotations

from dataclasses import dataclass

from real_servers import DATABASE, PASSWORD, USER

POSTGRESQL, MARIADB = "postgresql", "mariadb"

_OPTIONS = f"user={USER!r}, password={PASSWORD!r}, host='127.0.0.1', port=port"
_CURSOR = """
def run(connection, statement, *values):
    cursor = connection.cursor()
    cursor.execute(statement, values)
    return [list(row) for row in cursor.fetchall()] if cursor.description else None
def many(connection, statement, rows):
    connection.cursor().executemany(statement, rows)
"""


@dataclass(frozen=True)
class Driver:
    """One of them: its part of the function, the server it needs, and how it marks a value in a statement."""

    source: str
    server: str = POSTGRESQL
    mark: str = "%s"
    sent: str = ""
    """The same as the driver hands it on, where that is another one."""
    is_async: bool = False
    name: str = ""
    """As OTEL_PYTHON_DISABLED_INSTRUMENTATIONS knows it, where that is not the key."""
    bundles: tuple[str, ...] = ("sql", "sql-oldest")
    begins: tuple[str, ...] = ()
    """What it sends as statements of its own around the first of a transaction."""


DRIVERS = {
    "psycopg2": Driver(
        f"import psycopg2\ndef connect(port):\n    return psycopg2.connect({_OPTIONS}, dbname={DATABASE!r})\n{_CURSOR}"
    ),
    "psycopg": Driver(
        f"import psycopg\ndef connect(port):\n    return psycopg.connect({_OPTIONS}, dbname={DATABASE!r})\n{_CURSOR}"
    ),
    "psycopg-async": Driver(
        f"""
import psycopg
async def connect(port):
    return await psycopg.AsyncConnection.connect({_OPTIONS}, dbname={DATABASE!r})
async def run(connection, statement, *values):
    cursor = await connection.execute(statement, values)
    return [list(row) for row in await cursor.fetchall()] if cursor.description else None
async def many(connection, statement, rows):
    await connection.cursor().executemany(statement, rows)
""",
        is_async=True,
        name="psycopg",
    ),
    "asyncpg": Driver(
        f"""
import asyncpg
async def connect(port):
    return await asyncpg.connect({_OPTIONS}, database={DATABASE!r})
async def run(connection, statement, *values):
    return [list(row) for row in await connection.fetch(statement, *values)]
async def many(connection, statement, rows):
    await connection.executemany(statement, rows)
""",
        mark="$1",
        is_async=True,
    ),
    "pg8000": Driver(
        f"import pg8000.dbapi\ndef connect(port):\n"
        f"    return pg8000.dbapi.connect({_OPTIONS}, database={DATABASE!r})\n{_CURSOR}",
        sent="$1",
        begins=("BEGIN",),
    ),
    "pymysql": Driver(
        f"import pymysql\ndef connect(port):\n    return pymysql.connect({_OPTIONS}, database={DATABASE!r})\n{_CURSOR}",
        MARIADB,
    ),
    "aiomysql": Driver(
        f"""
import aiomysql
async def connect(port):
    return await aiomysql.connect({_OPTIONS}, db={DATABASE!r})
async def run(connection, statement, *values):
    cursor = await connection.cursor()
    await cursor.execute(statement, values)
    return [list(row) for row in await cursor.fetchall()] if cursor.description else None
async def many(connection, statement, rows):
    await (await connection.cursor()).executemany(statement, rows)
""",
        MARIADB,
        is_async=True,
    ),
    "mysql-connector": Driver(
        f"import mysql.connector\ndef connect(port):\n"
        f"    return mysql.connector.connect({_OPTIONS}, database={DATABASE!r}, use_pure=True)\n{_CURSOR}",
        MARIADB,
        name="mysql",
    ),
    "mysql-connector-c": Driver(
        f"import mysql.connector\ndef connect(port):\n"
        f"    return mysql.connector.connect({_OPTIONS}, database={DATABASE!r}, use_pure=False)\n{_CURSOR}",
        MARIADB,
        name="mysql",
        # The newest needs a newer OpenSSL than many machines have.
        bundles=("sql-oldest",),
    ),
    "sqlalchemy": Driver(
        f"""
import sqlalchemy
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.pg8000 import PGDialect_pg8000
class Unknown(PGDialect_pg8000):
    driver = "unknown"
    supports_statement_cache = True
registry.impls["postgresql.unknown"] = lambda: Unknown
def connect(port):
    url = sqlalchemy.engine.URL.create(
        "postgresql+unknown", {USER!r}, {PASSWORD!r}, "127.0.0.1", port, {DATABASE!r}
    )
    return sqlalchemy.create_engine(url).connect()
def run(connection, statement, *values):
    result = connection.exec_driver_sql(statement, values)
    return [list(row) for row in result] if result.returns_rows else None
def many(connection, statement, rows):
    connection.exec_driver_sql(statement, rows)
""",
        begins=("BEGIN", "COMMIT", "ROLLBACK"),
    ),
}
"""By the name of the test's case."""

_COMMON = """
import inspect, os
def statement(text):
    return text.replace("?", MARK)
def shown(connection):
    kinds = [type(connection)]
    names = ("connect", "cursor", "execute", "fetch", "commit", "executemany")
    functions = [getattr(kind, name) for kind in kinds for name in names if hasattr(kind, name)]
    return [[str(kind) for kind in kinds], [[f.__qualname__, f.__doc__, signature(f)] for f in functions]]
def signature(function):
    try:
        return str(inspect.signature(function))
    except ValueError:
        return "none"
"""
_SYNC = """
import threading
def select(event):
    return run(connect(event["port"]), statement("SELECT ?"), event["canary"])
def connecting(event):
    return shown(connect(event["port"]))
def insert(event):
    connection = connect(event["port"])
    run(connection, "CREATE TEMPORARY TABLE orders (name VARCHAR(80))")
    many(connection, statement("INSERT INTO orders (name) VALUES (?)"), [(event["canary"],), (event["canary"] + "2",)])
    return run(connection, "SELECT COUNT(*) FROM orders")
def failing(event):
    run(connect(event["port"]), statement("SELECT name FROM missing WHERE name = ?"), event["canary"])
def hanging(event):
    run(connect(event["port"]), event["sleep"])
def both(event):
    threads = [threading.Thread(target=select, args=(event,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
def later(event):
    return run(early, statement("SELECT ?"), event["canary"])
if "EARLY" in os.environ:
    early = connect(int(os.environ["EARLY"]))
    run(early, statement("SELECT ?"), "early")
def handler(event, context):
    return globals()[event["do"]](event)
"""
_ASYNC = """
import asyncio
async def select(event):
    return await run(await connect(event["port"]), statement("SELECT ?"), event["canary"])
async def connecting(event):
    return shown(await connect(event["port"]))
async def insert(event):
    connection = await connect(event["port"])
    await run(connection, "CREATE TEMPORARY TABLE orders (name VARCHAR(80))")
    rows = [(event["canary"],), (event["canary"] + "2",)]
    await many(connection, statement("INSERT INTO orders (name) VALUES (?)"), rows)
    return await run(connection, "SELECT COUNT(*) FROM orders")
async def failing(event):
    await run(await connect(event["port"]), statement("SELECT name FROM missing WHERE name = ?"), event["canary"])
async def hanging(event):
    await run(await connect(event["port"]), event["sleep"])
async def both(event):
    await asyncio.gather(select(event), select(event))
async def later(event):
    return await run(early, statement("SELECT ?"), event["canary"])
async def before():
    connection = await connect(int(os.environ["EARLY"]))
    await run(connection, statement("SELECT ?"), "early")
    return connection
loop = asyncio.new_event_loop()
if "EARLY" in os.environ:
    early = loop.run_until_complete(before())
def handler(event, context):
    return loop.run_until_complete(globals()[event["do"]](event))
"""


def source_of(driver: Driver, packages: str) -> str:
    head = f"import sys\nsys.path.insert(1, {packages!r})\nMARK = {driver.mark!r}\n"
    return head + driver.source + _COMMON + (_ASYNC if driver.is_async else _SYNC)
