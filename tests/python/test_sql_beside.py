"""Databases beside what else records them: the X-Ray SDK (PL-66), and spans of the OpenTelemetry API (PL-49)."""

from __future__ import annotations

import pytest
from conftest import Daemon, Start
from servers import BOUND_S
from sql_functions import DRIVERS, source_of
from stage import HEADER, attributes, bundled
from test_sql import CANARY, Port

PATCH = """
from aws_xray_sdk.core import patch
patch(({!r},))
"""
MODULES = {"psycopg2": "psycopg2", "psycopg": "psycopg", "pymysql": "pymysql", "mysql-connector": "mysql"}
"""By the driver's case, the SDK's name for it."""


SDK = f"import sys\nsys.path.insert(1, {str(bundled('aws-xray-sdk-2.15.0'))!r})\n"


def beside_sdk(name: str) -> str:
    return SDK + source_of(DRIVERS[name], str(bundled("sql"))).replace(
        "def connect(", PATCH.format(MODULES[name]) + "def connect(", 1
    )


@pytest.mark.parametrize("name", MODULES)
def test_pl_66_a_statement_that_the_x_ray_sdk_records_is_not_recorded_twice(
    start: Start, server_port: Port, daemon: Daemon, name: str
) -> None:
    event = {"do": "select", "port": server_port(DRIVERS[name].server), "canary": CANARY}
    with start(beside_sdk(name), variables=daemon.variables()) as function:
        assert function.invoke(event).json == [[CANARY]]
        function.frames.wait_for(5, 1)
        *calls, handler = function.frames.ended()
        document = daemon.documents.get(timeout=BOUND_S)
        assert "[otel-xray]" not in function.output()
    # Which knows of no wait for a connection.
    assert [span.name.split()[0] for span in calls] == ["connect"]
    assert (document["parent_id"], document["namespace"]) == (handler.span_id.hex(), "remote")
    assert daemon.documents.empty()


def test_pl_66_where_the_sdk_records_nothing_the_agent_does(start: Start, server_port: Port, daemon: Daemon) -> None:
    event = {"do": "select", "port": server_port("postgresql"), "canary": CANARY}
    with start(beside_sdk("psycopg2"), variables=daemon.variables()) as function:
        function.invoke(event, header=HEADER.replace("Sampled=1", "Sampled=0"))
        function.frames.wait_for(5, 1)
        *calls, _ = function.frames.ended()
    assert [span.name.split()[0] for span in calls] == ["connect", "SELECT"]
    assert daemon.documents.empty()


def test_pl_66_the_sdk_records_only_one_of_pg8000s_interfaces(start: Start, server_port: Port, daemon: Daemon) -> None:
    event = {"do": "select", "port": server_port("postgresql"), "canary": CANARY}
    source = source_of(DRIVERS["pg8000"], str(bundled("sql")))
    source = SDK + source.replace("def connect(", PATCH.format("pg8000") + "def connect(", 1)
    for connect, recorded in (("pg8000.connect", []), ("pg8000.dbapi.connect", ["SELECT"])):
        with start(source.replace("pg8000.dbapi.connect", connect), variables=daemon.variables()) as function:
            assert function.invoke(event).json == [[CANARY]]
            function.frames.wait_for(5, 1)
            names = [span.name.split()[0] for span in function.frames.ended()]
        assert [name for name in names if name not in ("connect", "BEGIN", "app.handler")] == recorded


def test_pl_66_what_the_sdk_records_of_sqlalchemy_is_one_call(start: Start, server_port: Port, daemon: Daemon) -> None:
    event = {"do": "select", "port": server_port("postgresql"), "canary": CANARY}
    source = source_of(DRIVERS["sqlalchemy"], str(bundled("sql")))
    source = SDK + source.replace("def connect(", PATCH.format("sqlalchemy_core") + "def connect(", 1)
    source = source.replace("connection.exec_driver_sql(statement, values)", "connection.execute(CHOSEN)")
    source = source.replace("CHOSEN", f"sqlalchemy.text(\"SELECT '{CANARY}'\")")
    with start(source, variables=daemon.variables()) as function:
        assert function.invoke(event).json == [[CANARY]]
        function.frames.wait_for(5, 1)
        names = [span.name.split()[0] for span in function.frames.ended()]
    assert names == ["connect", "initialize", "ROLLBACK", "app.handler"]
    assert daemon.documents.get(timeout=BOUND_S)["namespace"] == "remote"


THEIRS = """
sys.path.insert(1, API)
from opentelemetry import trace
tracer = trace.get_tracer("theirs")
def instrumented(event):
    connection = connect(event["port"])
    attributes = {"db.system": "postgresql", "db.statement": "SELECT 1"}
    with tracer.start_as_current_span("SELECT", kind=trace.SpanKind.CLIENT, attributes=attributes):
        return run(connection, "SELECT 1")
"""


def test_pl_49_inside_of_an_instrumentations_span_of_a_database_is_no_other_call(
    start: Start, server_port: Port
) -> None:
    source = source_of(DRIVERS["psycopg2"], str(bundled("sql")))
    source += THEIRS.replace("API", repr(str(bundled("opentelemetry-api-newest"))))
    with start(source) as function:
        event = {"do": "instrumented", "port": server_port("postgresql")}
        assert function.invoke(event).json == [[1]]
        function.frames.wait_for(5, 1)
        connect, theirs, _ = function.frames.ended()
    assert connect.name.startswith("connect ")
    assert attributes(theirs)["otel.scope.name"] == "theirs"
