"""The wait for a connection of a pool (PL-32), and what only some drivers have: cursors, copies, subclasses."""

from __future__ import annotations

import pytest
from conftest import Start
from real_servers import DATABASE, PASSWORD, USER
from sql_functions import MARIADB, POSTGRESQL
from stage import attributes, bundled
from test_sql import BUNDLES, CANARY, Port, announced, sent, where

CONNECTION = f"dict(user={USER!r}, password={PASSWORD!r}, host='127.0.0.1', port=event, %s={DATABASE!r})"

POOLS = {
    "psycopg_pool": (
        POSTGRESQL,
        f"""
import psycopg_pool
def handler(event, context):
    pool = psycopg_pool.ConnectionPool("", min_size=1, max_size=1, kwargs={CONNECTION % "dbname"})
    pool.wait()
    with pool.connection() as first, pool.connection() as second:
        pass
""",
    ),
    "psycopg_pool-async": (
        POSTGRESQL,
        f"""
import asyncio, psycopg_pool
async def main(event):
    later = {{"open": False}} if hasattr(psycopg_pool.AsyncConnectionPool, "open") else {{}}
    pool = psycopg_pool.AsyncConnectionPool("", min_size=1, max_size=1, kwargs={CONNECTION % "dbname"}, **later)
    if later:
        await pool.open()
    await pool.wait()
    async with pool.connection() as first, pool.connection() as second:
        pass
def handler(event, context):
    asyncio.run(main(event))
""",
    ),
    "asyncpg": (
        POSTGRESQL,
        f"""
import asyncio, asyncpg
async def main(event):
    pool = await asyncpg.create_pool(min_size=1, max_size=1, **{CONNECTION % "database"})
    async with pool.acquire() as first, pool.acquire() as second:
        pass
def handler(event, context):
    asyncio.run(main(event))
""",
    ),
    "aiomysql": (
        MARIADB,
        f"""
import asyncio, aiomysql
async def main(event):
    pool = await aiomysql.create_pool(minsize=1, maxsize=1, **{CONNECTION % "db"})
    async with pool.acquire() as first, pool.acquire() as second:
        pass
def handler(event, context):
    asyncio.run(main(event))
""",
    ),
    "sqlalchemy": (
        POSTGRESQL,
        f"""
import sqlalchemy
def handler(event, context):
    url = sqlalchemy.engine.URL.create(
        "postgresql+psycopg2", {USER!r}, {PASSWORD!r}, "127.0.0.1", event, {DATABASE!r}
    )
    engine = sqlalchemy.create_engine(url, pool_size=1, max_overflow=0, pool_timeout=600)
    with engine.connect() as first, engine.connect() as second:
        pass
""",
    ),
}


@pytest.fixture(params=BUNDLES)
def packages(request: pytest.FixtureRequest) -> str:
    """The start of a function that has the drivers."""
    return f"import sys\nsys.path.insert(1, {str(bundled(request.param))!r})\n"


@pytest.mark.parametrize("pool", POOLS)
def test_pl_32_an_exhausted_pool_is_what_a_function_waits_for(
    start: Start, server_port: Port, packages: str, pool: str
) -> None:
    server, source = POOLS[pool]
    port = server_port(server)
    with start(packages + source) as function:
        function.invoke(port, answered=False)
        waiting = announced(function, f"acquire {DATABASE}")
        names = [span.name for span in function.frames.ended()]
    assert {key: attributes(waiting).get(key) for key in where(port)} == where(port)
    assert f"acquire {DATABASE}" not in names
    assert names.count(f"connect {DATABASE}") == 1


ASYNCPG = f"""
import asyncio, asyncpg
async def main(event):
    pool = await asyncpg.create_pool(min_size=1, max_size=1, **{CONNECTION % "database"})
    async with pool.acquire() as connection:
        prepared = await connection.prepare("SELECT $1::text")
        await prepared.fetchval({CANARY!r})
        async with connection.transaction():
            rows = [row async for row in connection.cursor("SELECT generate_series(1, $1::int)", 3, prefetch=2)]
            cursor = await connection.cursor("SELECT 7")
            rows += await cursor.fetch(1)
        await connection.execute("CREATE TEMPORARY TABLE orders (name TEXT)")
        await connection.copy_records_to_table("orders", records=[({CANARY!r},)])
    async with pool.acquire() as connection:
        return [row[0] for row in rows]
def handler(event, context):
    return asyncio.run(main(event))
"""


def test_pl_16_asyncpgs_cursors_prepared_statements_and_copies(start: Start, server_port: Port, packages: str) -> None:
    with start(packages + ASYNCPG) as function:
        assert function.invoke(server_port(POSTGRESQL)).json == [1, 2, 3, 7]
        function.frames.wait_for(5, 1)
        *found, handler = function.frames.ended()
    # And nothing for what the pool sends when it takes a connection back (PL-65).
    assert [span.name.split()[0] for span in found] == [
        "connect",
        "PREPARE",
        "SELECT",
        "BEGIN",
        "PREPARE",
        "SELECT",
        "FETCH",
        "PREPARE",
        "SELECT",
        "FETCH",
        "COMMIT",
        "CREATE",
        "COPY",
    ]
    assert {span.parent_span_id for span in found} == {handler.span_id}
    assert attributes(found[5])["db.query.text"] == "SELECT generate_series(1, $1::int)"
    assert CANARY.encode() not in sent(function)


PSYCOPG2 = f"""
import logging, psycopg2, psycopg2.extensions as ext, psycopg2.extras as extras
from psycopg2 import sql
class Mine(ext.cursor):
    def execute(self, query, vars=None):
        self.seen = query
        return super().execute(query, vars)
class Factory:
    def __call__(self, dsn):
        return ext.connection(dsn)
def attempt(work):
    try:
        return work()
    except Exception as error:
        return [type(error).__name__, str(error), getattr(error, "pgcode", None)]
def handler(event, context):
    options = {CONNECTION % "dbname"}
    connection = psycopg2.connect(**options)
    cursor = connection.cursor()
    outcomes = [type(connection).__name__, type(cursor).__name__, type(connection).__module__, repr(type(cursor))]
    outcomes += [isinstance(connection, ext.connection), isinstance(cursor, ext.cursor)]
    number = ext.new_type((23,), "NUMBER", lambda value, cursor: [value, type(cursor).__name__])
    ext.register_type(number, connection)
    extras.register_default_jsonb(connection)
    cursor.execute("SELECT 7")
    outcomes.append(cursor.fetchone())
    adapted = ext.adapt("it's")
    adapted.prepare(connection)
    outcomes.append(adapted.getquoted().decode())
    cursor.execute("CREATE TEMPORARY TABLE orders (name TEXT)")
    extras.execute_values(cursor, "INSERT INTO orders (name) VALUES %s", [("a",), ("b",)])
    cursor.execute(sql.SQL("SELECT name FROM {{}} WHERE name <> {{}} ORDER BY 1").format(
        sql.Identifier("orders"), sql.Literal({CANARY!r})))
    outcomes.append(cursor.fetchall())
    named = connection.cursor("named")
    named.execute("SELECT name FROM orders ORDER BY 1")
    outcomes.append(named.fetchmany(1))
    positional = connection.cursor("second", extras.DictCursor)
    positional.execute("SELECT name FROM orders ORDER BY 1")
    outcomes.append([positional.fetchone()["name"], type(positional).__name__])
    mine = connection.cursor(cursor_factory=Mine)
    mine.execute("SELECT 1")
    outcomes += [mine.seen, type(mine).__name__, isinstance(mine, Mine)]
    outcomes.append(attempt(lambda: connection.cursor(cursor_factory=int)))
    outcomes.append(attempt(lambda: cursor.execute("SELECT name FROM missing")))
    connection.rollback()
    dictionary = psycopg2.connect(**options, connection_factory=extras.DictConnection).cursor()
    dictionary.execute("SELECT 1 AS one")
    outcomes.append([dict(dictionary.fetchone()), type(dictionary).__name__])
    logged = psycopg2.connect(**options, connection_factory=extras.LoggingConnection)
    logged.initialize(logging.getLogger("sql"))
    logging_cursor = logged.cursor()
    logging_cursor.execute("SELECT 2")
    outcomes.append([logging_cursor.fetchone(), type(logged).__name__, type(logging_cursor).__name__])
    outcomes.append(type(psycopg2.connect(**options, connection_factory=Factory())).__name__)
    with psycopg2.connect(**options, cursor_factory=extras.RealDictCursor) as real, real.cursor() as rows:
        rows.execute("SELECT 3 AS three")
        outcomes.append(dict(rows.fetchone()))
    waiting = psycopg2.connect(**options, async_=1)
    extras.wait_select(waiting)
    later = waiting.cursor()
    later.execute("SELECT 4")
    extras.wait_select(waiting)
    outcomes.append([later.fetchone(), type(waiting).__name__])
    connection.close()
    outcomes.append(attempt(lambda: cursor.execute("SELECT 1")))
    return outcomes
"""


def test_pl_60_psycopg2s_types_are_what_c_code_and_the_functions_own_classes_take_them_for(
    start: Start, server_port: Port, packages: str
) -> None:
    answers = []
    for layer in (False, True):
        with start(packages + PSYCOPG2, layer=layer) as function:
            answers.append(function.invoke(server_port(POSTGRESQL)).json)
            if layer:
                function.frames.wait_for(5, 1)
                found = [span for span in function.frames.ended() if span.name != "app.handler"]
                output = function.output()
    assert answers[0] == answers[1]
    texts = [attributes(span).get("db.query.text", "") for span in found]
    assert 'SELECT name FROM "orders" WHERE name <> ? ORDER BY 1' in texts
    assert CANARY.encode() not in sent(function)
    # Neither a connection that answers before it is there, nor one of a factory's, is recorded as anything else.
    assert "SELECT 4" not in texts
    assert [text for text in texts if text in ("SELECT 1", "SELECT 2", "SELECT 1 AS one", "SELECT 3 AS three")] == [
        "SELECT 1",
        "SELECT 1 AS one",
        "SELECT 2",
        "SELECT 3 AS three",
        "SELECT 1",
    ]
    assert output == ""


ENGINE = f"""
import sqlalchemy
def handler(event, context):
    url = sqlalchemy.engine.URL.create(
        "postgresql+%s", {USER!r}, {PASSWORD!r}, "127.0.0.1", event, {DATABASE!r}
    )
    engine = sqlalchemy.create_engine(url)
    for _ in range(2):
        with engine.connect() as connection:
            result = connection.execute(sqlalchemy.text("SELECT 7")).scalar()
    return result
"""


@pytest.mark.parametrize("driver", ["psycopg2", "pg8000"])
def test_pl_20_sqlalchemys_first_questions_are_one_call_and_no_statement_comes_twice(
    start: Start, server_port: Port, packages: str, driver: str
) -> None:
    port = server_port(POSTGRESQL)
    with start(packages + ENGINE % driver) as function:
        assert function.invoke(port).json == 7
        function.frames.wait_for(5, 1)
        found = function.frames.ended()
    names = [span.name.split()[0] for span in found if attributes(span).get("db.query.text", "SELECT 7") == "SELECT 7"]
    assert names == ["connect", "initialize", "SELECT", "SELECT", "app.handler"]
    assert {key: attributes(found[1]).get(key) for key in where(port)} == where(port)
    assert [span.name for span in found].count(f"initialize {DATABASE}") == 1


SQLITE = """
import sqlite3, sqlalchemy
def handler(event, context):
    sqlite3.connect(":memory:").execute("SELECT 1")
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        return connection.execute(sqlalchemy.text("SELECT 7")).scalar()
"""


def test_a_database_in_the_process_is_no_call(start: Start, packages: str) -> None:
    with start(packages + SQLITE) as function:
        assert function.invoke().json == 7
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]
