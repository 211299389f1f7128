"""SQL drivers against real servers: what is recorded, what is not, and that the function sees the same.

PL-32 connections, PL-40 and PL-41 names and attributes, PL-51 what is not to be recorded, PL-90 the same without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Start
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from real_servers import DATABASE, PASSWORD, USER
from servers import BOUND_S
from sql_functions import DRIVERS, MARIADB, POSTGRESQL, Driver, source_of
from stage import Function, attributes, bundled, version

CANARY = "canary-of-a-value"
MISSING = {POSTGRESQL: "42P01", MARIADB: "1146"}
SLEEP = {POSTGRESQL: "SELECT pg_sleep(600)", MARIADB: "SELECT SLEEP(600)"}
BUNDLES = ("sql-oldest", "sql") if version() == "3.9" else ("sql",)

Port = Callable[[str], int]
Case = tuple[Driver, str]


@pytest.fixture(
    params=[(bundle, name) for bundle in BUNDLES for name in DRIVERS if bundle in DRIVERS[name].bundles], ids="-".join
)
def case(request: pytest.FixtureRequest) -> Case:
    """A driver, and the function that uses it."""
    bundle, name = request.param
    return DRIVERS[name], source_of(DRIVERS[name], str(bundled(bundle)))


def calls(function: Function, driver: Driver) -> list[Span]:
    """What has ended besides the handler, without what a driver sends around a statement by itself."""
    around = ("app.handler", *(f"{name} {DATABASE}" for name in (*driver.begins, "initialize")))
    return [span for span in function.frames.ended() if span.name not in around]


def announced(function: Function, name: str) -> Span:
    """The span of that name that has begun: what a timeout of the function would name."""
    deadline = time.monotonic() + BOUND_S
    while True:
        started = function.frames.started()
        found = [span for span in started if span.name == name]
        if found:
            assert function.frames.ended() == [] or found[0].span_id not in {
                span.span_id for span in function.frames.ended()
            }
            return found[0]
        assert time.monotonic() < deadline, [span.name for span in started]
        time.sleep(0.01)


def sent(function: Function) -> bytes:
    return b"".join(payload for _, payload in function.frames.frames)


def where(port: int) -> dict[str, Any]:
    return {"server.address": "127.0.0.1", "server.port": port, "db.namespace": DATABASE, "db.user": USER}


def test_pl_40_a_statement_and_its_connection(start: Start, server_port: Port, case: Case) -> None:
    driver, source = case
    port = server_port(driver.server)
    with start(source) as function:
        assert function.invoke({"do": "select", "port": port, "canary": CANARY}).json == [[CANARY]]
        function.frames.wait_for(5, 1)
        connect, select = calls(function, driver)
        handler = function.frames.named("app.handler")
    assert (connect.name, select.name) == (f"connect {DATABASE}", f"SELECT {DATABASE}")
    assert {connect.parent_span_id, select.parent_span_id} == {handler.span_id}
    assert {connect.kind, select.kind} == {3}
    seen = attributes(connect)
    # Whether it is MariaDB, a server says with its first answer.
    assert seen.pop("db.system.name") in (driver.server, "mysql")
    assert seen == where(port)
    statement = {"db.query.text": f"SELECT {driver.sent or driver.mark}", "db.operation.name": "SELECT"}
    assert attributes(select) == {**where(port), **statement, "db.system.name": driver.server}
    assert not any(secret in sent(function) for secret in (CANARY.encode(), PASSWORD.encode()))


def test_pl_40_a_batch_is_one_call_and_none_of_its_values_is_recorded(
    start: Start, server_port: Port, case: Case
) -> None:
    driver, source = case
    with start(source) as function:
        answer = function.invoke({"do": "insert", "port": server_port(driver.server), "canary": CANARY})
        assert answer.json == [[2]]
        function.frames.wait_for(5, 1)
        found = calls(function, driver)
    assert [span.name.split()[0] for span in found] == ["connect", "CREATE", "INSERT", "SELECT"]
    seen = attributes(found[2])
    assert seen["db.operation.batch.size"] == 2
    assert seen["db.query.text"] == f"INSERT INTO orders (name) VALUES ({driver.mark})"
    assert CANARY.encode() not in sent(function)


def test_pl_41_an_error_has_the_servers_code_and_reads_as_without_the_layer(
    start: Start, server_port: Port, case: Case
) -> None:
    driver, source = case
    answers = []
    for layer in (False, True):
        with start(source, layer=layer) as function:
            event = {"do": "failing", "port": server_port(driver.server), "canary": CANARY}
            answers.append(function.invoke(event).comparable)
            if layer:
                function.frames.wait_for(5, 1)
                failed = calls(function, driver)[1]
    assert answers[0][0] == "error"
    assert answers[0] == answers[1]
    seen = attributes(failed)
    assert (seen["db.response.status_code"], seen["error.type"]) == (MISSING[driver.server],) * 2
    assert failed.status.code == 2


def test_pl_32_a_server_that_does_not_answer_is_what_connect_waits_for(
    start: Start, silent_port: int, case: Case
) -> None:
    _, source = case
    with start(source) as function:
        function.invoke({"do": "select", "port": silent_port, "canary": CANARY}, answered=False)
        waiting = announced(function, f"connect {DATABASE}")
    assert attributes(waiting)["server.port"] == silent_port


def test_a_statement_that_hangs_is_announced(start: Start, server_port: Port, case: Case) -> None:
    driver, source = case
    with start(source) as function:
        event = {"do": "hanging", "port": server_port(driver.server), "sleep": SLEEP[driver.server]}
        function.invoke(event, answered=False)
        waiting = announced(function, f"SELECT {DATABASE}")
    assert attributes(waiting)["db.query.text"] == SLEEP[driver.server]


def test_a_refused_connection_is_an_error_and_reads_as_without_the_layer(
    start: Start, closed_port: int, case: Case
) -> None:
    driver, source = case
    answers = []
    for layer in (False, True):
        with start(source, layer=layer) as function:
            answers.append(function.invoke({"do": "connecting", "port": closed_port}).comparable)
            if layer:
                function.frames.wait_for(5, 1)
                (connect,) = calls(function, driver)
    assert answers[0][0] == "error"
    assert answers[0] == answers[1]
    assert (connect.name, connect.status.code) == (f"connect {DATABASE}", 2)


def test_pl_90_objects_and_functions_look_the_same(start: Start, server_port: Port, case: Case) -> None:
    driver, source = case
    answers = []
    for layer in (False, True):
        with start(source, layer=layer) as function:
            answers.append(function.invoke({"do": "connecting", "port": server_port(driver.server)}).json)
    assert answers[0] == answers[1]


def test_two_at_once_belong_to_the_handler(start: Start, server_port: Port, case: Case) -> None:
    driver, source = case
    with start(source) as function:
        function.invoke({"do": "both", "port": server_port(driver.server), "canary": CANARY})
        function.frames.wait_for(5, 1)
        found = calls(function, driver)
        handler = function.frames.named("app.handler")
    assert sorted(span.name.split()[0] for span in found) == ["SELECT", "SELECT", "connect", "connect"]
    assert {span.parent_span_id for span in found} == {handler.span_id}


def test_a_connection_of_before_the_invocation_tells_where_it_leads(
    start: Start, server_port: Port, case: Case
) -> None:
    driver, source = case
    port = server_port(driver.server)
    with start(source, variables={"EARLY": str(port)}) as function:
        assert function.invoke({"do": "later", "canary": CANARY}).json == [[CANARY]]
        function.frames.wait_for(5, 1)
        *early, select = calls(function, driver)
    # The invocation has waited for the function's load, and so for the connection (PL-82).
    assert [call.name.partition(" ")[0] for call in early] == ["connect", "SELECT"]
    for call in (early[-1], select):
        assert {key: attributes(call).get(key) for key in where(port)} == where(port)


def test_disabled_by_name(start: Start, server_port: Port, case: Case, request: pytest.FixtureRequest) -> None:
    driver, source = case
    names = [driver.name or request.node.callspec.params["case"][1]]
    # Behind the dialect of the test is a driver that would be seen then.
    names += ["pg8000"] if names == ["sqlalchemy"] else []
    variables = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ", ".join(names)}
    with start(source, variables=variables) as function:
        function.invoke({"do": "select", "port": server_port(driver.server), "canary": CANARY})
        function.frames.wait_for(5, 1)
        assert [span.name for span in function.frames.ended()] == ["app.handler"]
        assert function.output() == ""
