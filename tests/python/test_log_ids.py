"""The ids of the current span in what the function logs, where OTEL_XRAY_LOG_TRACE_IDS asks for them (PL-85)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from stage import TRACE, bundled, interpreter

ON = {"OTEL_XRAY_LOG_TRACE_IDS": "true"}
XRAY = f"1-{TRACE[:8]}-{TRACE[8:]}"
SOURCE = """
import logging
log = logging.getLogger("shop")
log.warning("at start")
def handler(event, context):
    log.warning("one %s", "word")
    log.error("own", extra={"trace_id": "mine"})
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("broken")
    return logging.makeLogRecord({"msg": "by hand"}).__dict__.get("trace_id")
"""


def logged(
    start: Start, source: str, variables: dict[str, str], *, layer: bool = True
) -> tuple[list[str], Span | None, Any]:
    """The lines, the handler's span, and the answer."""
    with start(source, variables=variables, layer=layer) as function:
        answer = function.invoke().json
        if layer:
            function.frames.wait_for(5, 1)
        lines = [line for line in function.output().splitlines() if line]
    assert not [line for line in lines if "[otel-xray]" in line]
    return lines, function.frames.named("app.handler") if layer else None, answer


def ids(span: Span | None) -> dict[str, str]:
    assert span is not None
    span_id = span.span_id.hex()
    return {"trace_id": TRACE, "span_id": span_id, "trace_flags": "01", "xray_trace_id": XRAY}


def without_times(lines: list[str]) -> list[str]:
    """The runtime's lines as they are but for when, and in which request."""
    return ["\t".join(part for at, part in enumerate(line.split("\t")) if at not in (1, 2)) for line in lines]


def test_the_runtimes_text_shows_them_behind_the_message(start: Start) -> None:
    bare, _, _ = logged(start, SOURCE, {}, layer=False)
    lines, span, answer = logged(start, SOURCE, ON)
    assert answer is None
    said = f"span_id={ids(span)['span_id']} xray_trace_id={XRAY}"
    suffixes = {"one word": f" trace_id={TRACE} {said}", "own": f" trace_id=mine {said}"}
    suffixes["broken"] = suffixes["one word"]
    expected = [
        line + next((suffix for start, suffix in suffixes.items() if line.endswith("\t" + start)), "")
        for line in without_times(bare)
    ]
    assert without_times(lines) == expected
    assert sum("xray_trace_id" in line for line in lines) == 3


def test_in_lambdas_json_they_are_fields(start: Start) -> None:
    lines, span, _ = logged(start, SOURCE, {**ON, "AWS_LAMBDA_LOG_FORMAT": "JSON"})
    records = {record["message"]: record for record in map(json.loads, lines)}
    assert "trace_id" not in records["at start"]
    assert ids(span).items() <= records["one word"].items()
    assert {**ids(span), "trace_id": "mine"}.items() <= records["own"].items()
    assert (records["broken"]["errorType"], records["broken"]["xray_trace_id"]) == ("ZeroDivisionError", XRAY)


@pytest.mark.parametrize("variables", [{}, {"OTEL_XRAY_LOG_TRACE_IDS": "false"}])
def test_without_the_setting_nothing_is_added(start: Start, variables: dict[str, str]) -> None:
    bare, _, _ = logged(start, SOURCE, {}, layer=False)
    lines, _, _ = logged(start, SOURCE, variables)
    assert without_times(lines) == without_times(bare)


def test_turned_off_by_name_and_on_by_name(start: Start) -> None:
    off = {**ON, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "logging"}
    assert not [line for line in logged(start, SOURCE, off)[0] if "trace_id" in line]
    named = {"OTEL_PYTHON_ENABLED_INSTRUMENTATIONS": "logging"}
    assert [line for line in logged(start, SOURCE, named)[0] if "xray_trace_id" in line]


SPANS = """
from opentelemetry import trace
import logging
def handler(event, context):
    with trace.get_tracer("t").start_as_current_span("inner"):
        logging.error("inside")
    logging.error("outside")
"""


def test_they_are_those_of_the_current_span(start: Start) -> None:
    with start(SPANS, variables={**ON, "AWS_LAMBDA_LOG_FORMAT": "JSON"}) as function:
        function.invoke()
        function.frames.wait_for(5, 1)
        inside, outside = map(json.loads, filter(None, function.output().splitlines()))
    assert inside["span_id"] == function.frames.named("inner").span_id.hex()
    assert outside["span_id"] == function.frames.named("app.handler").span_id.hex()


POWERTOOLS = """
from aws_lambda_powertools import Logger
logger = Logger(service="shop")
logger.info("at start")
def handler(event, context):
    logger.info("plain", extra={"order": 1})
    logger.info("own", extra={"trace_id": "mine"})
    logger.append_keys(span_id="appended")
    logger.info("appended")
"""


def test_powertools_logger(start: Start) -> None:
    if not has("aws_lambda_powertools"):
        pytest.skip("Powertools has no release for this version in the runtime's packages")
    lines, span, _ = logged(start, POWERTOOLS, ON)
    records = {record["message"]: record for record in map(json.loads, lines)}
    assert "trace_id" not in records["at start"]
    assert {**ids(span), "order": 1, "service": "shop"}.items() <= records["plain"].items()
    assert {**ids(span), "trace_id": "mine"}.items() <= records["own"].items()


def has(package: str) -> bool:
    ask = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([interpreter(), "-c", ask], check=False).returncode == 0


STRUCTLOG = """
import sys
sys.path.insert(0, {path!r})
import structlog
structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory())
log = structlog.get_logger().bind(order=1)
log.info("at start")
def handler(event, context):
    log.info("plain", more=2)
    log.info("own", trace_id="mine")
    log.bind(span_id="bound").info("bound")
"""
LOGURU = """
import json, sys
sys.path.insert(0, {path!r})
from loguru import logger
def show(message):
    record = message.record
    print(json.dumps({{"event": record["message"], "at": record["function"], **record["extra"]}}), flush=True)
logger.remove()
logger.add(show)
logger = logger.bind(order=1)
logger.info("at start")
def handler(event, context):
    logger.bind(more=2).info("plain")
    logger.bind(trace_id="mine").info("own")
    logger.bind(span_id="bound").info("bound")
    logger.info("{{}}{{}}{{}}{{}}{{}}{{}}{{}}{{}}{{}}", *range(9))
    with logger.catch(message="caught"):
        1 / 0
"""


@pytest.mark.parametrize("age", ["loggers", "loggers-oldest"])
@pytest.mark.parametrize("source", [STRUCTLOG, LOGURU], ids=["structlog", "loguru"])
def test_structlog_and_loguru(start: Start, source: str, age: str) -> None:
    path: Path = bundled(age)
    bare, _, _ = logged(start, source.format(path=str(path)), {}, layer=False)
    lines, span, _ = logged(start, source.format(path=str(path)), ON)
    records = [json.loads(line) for line in lines]
    expected = []
    for record in map(json.loads, bare):
        added = {} if record["event"] == "at start" else ids(span)
        expected.append({**added, **record})
    assert records == expected


def test_nonsense_is_one_line_and_the_default(start: Start) -> None:
    with start(SOURCE, variables={"OTEL_XRAY_LOG_TRACE_IDS": "maybe"}) as function:
        function.invoke()
        lines = function.output().splitlines()
    assert [line for line in lines if "[otel-xray]" in line] == [
        "[otel-xray] WARN: OTEL_XRAY_LOG_TRACE_IDS='maybe' is not understood: set it to true or false; using the "
        "default (false)"
    ]
    assert not [line for line in lines if "trace_id=" in line]
