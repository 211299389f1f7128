"""What is read of a statement and of an error, without any driver."""

from __future__ import annotations

import re
from typing import Any

import pytest
from _otel_xray_agent.libraries.sql import odbc, oracle, sqlalchemy
from _otel_xray_agent.libraries.sql.statement import MAX_TEXT, code_of, operation_of, text_of
from installed import ROOT


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ("select 1", "SELECT"),
        ("\n  /* who: shop */ -- why\nInsert INTO t", "INSERT"),
        ("# MySQL\n(SELECT 1)", "SELECT"),
        (";with t as (select 1) select * from t", "WITH"),
        ("{call shop.pay(?)}", ""),
        ("/* never closed", ""),
        ("-- nothing else", ""),
        ("", ""),
        ("x" * 40, "X" * 30),
        ("SET_x=1", "SET_X"),
        ("42", ""),
    ],
)
def test_pl_40_the_first_word_behind_comments(text: str, operation: str) -> None:
    assert operation_of(text) == operation


class Held:
    """What the classes of `psycopg2.sql` and `psycopg.sql` have in common."""

    def __init__(self, held: Any) -> None:
        self._obj = held

    def as_string(self) -> str:
        raise AssertionError("it would have put values into the text")


class SQL(Held):
    pass


class Identifier(Held):
    pass


class Literal(Held):
    pass


class Placeholder(Held):
    pass


class Composed(Held):
    pass


class Template:
    strings = ("SELECT * FROM t WHERE a = ", " AND b = ", "")


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("SELECT 'é'", "SELECT 'é'"),
        (b"SELECT '\xff'", "SELECT '\ufffd'"),
        ("x" * 5000, "x" * MAX_TEXT),
        (None, ""),
        (object(), ""),
        (
            Composed([SQL("SELECT "), Identifier(("a", 'b"c')), SQL(" = "), Literal("canary"), Placeholder("x")]),
            'SELECT "a"."b""c" = ?%s',
        ),
        (Template(), "SELECT * FROM t WHERE a = ? AND b = ?"),
    ],
)
def test_pl_52_a_statements_text_has_none_of_the_values_that_were_put_into_it(statement: Any, text: str) -> None:
    assert text_of(statement) == text


class DriverError(Exception):
    pass


def error(*arguments: Any, **attributes: Any) -> DriverError:
    made = DriverError(*arguments)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


class Oracles:
    full_code = "ORA-00942"


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (error("relation is missing", sqlstate="42P01"), "42P01"),
        (error("relation is missing", pgcode="42P01"), "42P01"),
        (error({"C": "23505", "D": "Key (email)=(a@example.com) already exists."}), "23505"),
        (error(1146, "Table 'shop.missing' doesn't exist"), "1146"),
        (error(1146, "Table 'shop.missing' doesn't exist", sqlstate="42S02"), "1146"),
        (error(errno=1146, sqlstate="42S02"), "1146"),
        (error(Oracles()), "ORA-00942"),
        (error((208, b"Invalid object name")), "208"),
        (error("42S02", "[42S02] no such table"), "42S02"),
        (error(sqlite_errorname="SQLITE_BUSY"), "SQLITE_BUSY"),
        (error("canary"), None),
        (error("CANARY42 IS A VALUE"), None),
        (error(True), None),
        (error(), None),
        (KeyError(7), None),
        (ConnectionRefusedError(111, "refused"), None),
    ],
)
def test_pl_41_a_databases_own_code(raised: BaseException, code: str | None) -> None:
    assert code_of(raised) == code


@pytest.mark.parametrize(
    ("dsn", "options", "place"),
    [
        ("db.example:1522/shop", {"user": "u"}, ("db.example", "1522", "shop", "u")),
        ("tcps://db.example/shop?x=y", {}, ("db.example", None, "shop", None)),
        ("(DESCRIPTION=(ADDRESS=(HOST=db)(PORT=1521))(CONNECT_DATA=(SID=shop)))", {}, ("db", "1521", "shop", None)),
        ("u/hunter2@db:1521/shop", {}, ("db", "1521", "shop", None)),
        ("alias", {}, ("alias", None, None, None)),
        (None, {"host": "db", "port": 1521, "service_name": "shop"}, ("db", 1521, "shop", None)),
    ],
)
def test_where_oracles_connection_strings_lead(dsn: str | None, options: dict[str, Any], place: Any) -> None:
    assert oracle._place(dsn, options) == place


@pytest.mark.parametrize(
    ("arguments", "options", "place", "system"),
    [
        (
            ("DRIVER={ODBC Driver 18 for SQL Server};SERVER=tcp:db.example,1434;DATABASE=shop;UID=u;PWD=hunter2",),
            {},
            ("db.example", "1434", "shop", "u"),
            "microsoft.sql_server",
        ),
        ((), {"driver": "PostgreSQL Unicode", "server": "db", "port": 5432}, ("db", 5432, None, None), "postgresql"),
        (("DSN=shop",), {}, ("shop", None, None, None), "other_sql"),
    ],
)
def test_where_odbcs_connection_strings_lead(arguments: Any, options: Any, place: Any, system: str) -> None:
    class Asked:
        pass

    call: Any = Asked()
    call.arguments, call.options = arguments, options
    assert (odbc._odbc_place(call), odbc._odbc_system(call)) == (place, system)


def test_pl_80_of_every_system_that_is_named_the_extension_knows_how_to_read_its_statements() -> None:
    """The other half, with the same table, is a test of the extension's masks."""
    folder = ROOT / "wrapper" / "python" / "_otel_xray_agent" / "libraries" / "sql"
    sources = "".join(path.read_text() for path in folder.glob("*.py"))
    named = set(re.findall(r'Database\(recorder, "[^"]+", "([^"]+)"', sources))
    named |= {
        "other_sql",
        *sqlalchemy._SYSTEMS.values(),
        *sqlalchemy._KNOWN,
        *(system for _, system in odbc._ODBC),
        oracle._ORACLE,
    }
    table = (ROOT / "tests" / "systems.tsv").read_text().splitlines()
    # The last is for whatever it may be, read by the strictest rules.
    assert named - set(table) == {"other_sql"}
    assert len(named) > 8
