"""The table of tests/triggers with this agent: what the handler's span holds, and that nothing harms the function."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Start
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from stage import HEADER, ROOT, attributes, function

TABLE = ROOT / "tests" / "triggers"
CASES = sorted(path.stem for path in (TABLE / "cases").glob("*.json"))
EVERY_INVOCATION = {
    "faas.invocation_id",
    "faas.coldstart",
    "faas.name",
    "faas.version",
    "cloud.resource_id",
    "cloud.account.id",
}
KINDS = {"SERVER": 2, "CONSUMER": 5}
STATUSES = {"unset": 0, "error": 2}

# Each invocation returns the next answer.
ANSWERS = """
import json, pathlib
answers = iter(json.loads(pathlib.Path(__file__).with_name("answers.json").read_text()))
def handler(event, context):
    return next(answers)
"""


def case(name: str) -> dict[str, Any]:
    return json.loads((TABLE / "cases" / f"{name}.json").read_text())


def answering(answers: list[Any]) -> dict[str, str]:
    return {"app.py": ANSWERS, "answers.json": json.dumps(answers)}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Span]]:
    """What was answered and recorded for each case, all of them in one process."""
    cases = [case(name) for name in CASES]
    sources = answering([one.get("answer") for one in cases])
    with function(tmp_path_factory.mktemp("triggers"), sources) as started:
        answers = [started.invoke(one["event"], header=one["header"]).json for one in cases]
        started.frames.wait_for(5, len(cases))
        spans = started.frames.ended()
        assert started.output() == ""
    assert len(spans) == len(cases)
    return dict(zip(CASES, zip(answers, spans)))


@pytest.mark.parametrize("name", CASES)
def test_what_the_span_of_the_handler_holds(recorded: dict[str, tuple[Any, Span]], name: str) -> None:
    answer, span = recorded[name]
    row, expect = case(name), case(name)["expect"]
    assert answer == row.get("answer")
    seen = attributes(span)
    assert {key: value for key, value in seen.items() if key not in EVERY_INVOCATION} == expect["attributes"]
    links = [
        {
            "trace_id": link.trace_id.hex(),
            "span_id": link.span_id.hex(),
            **({"attributes": attributes(link)} if link.attributes else {}),
        }
        for link in span.links
    ]
    assert links == expect["links"]
    assert span.kind == KINDS[expect["kind"]]
    assert span.status.code == STATUSES[expect["status"]]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (expect["trace_id"], expect["parent_id"])
    assert span.flags == (0x301 if expect["sampled"] else 0)


def test_malformed_events_and_answers_do_no_harm(start: Start) -> None:
    malformed = json.loads((TABLE / "malformed.json").read_text())
    fine = [case(name)["event"] for name in ("api-gateway-rest", "function-url", "sqs-untraced")]
    runs = [(event, None) for event in malformed["events"]]
    runs += [(event, answer) for answer in malformed["answers"] for event in fine]
    with start(answering([answer for _, answer in runs])) as started:
        for event, answer in runs:
            assert started.invoke(event).json == answer
        started.frames.wait_for(5, len(runs))
        spans = started.frames.ended()
        assert started.output() == ""
    assert [span.name for span in spans] == ["app.handler"] * len(runs)
    assert {span.parent_span_id.hex() for span in spans} == {HEADER.split("Parent=")[1].split(";")[0]}


def test_lnk_1_links_are_bounded(start: Start) -> None:
    record = case("sqs-one-message")["event"]["Records"][0]

    def message(number: int) -> dict[str, Any]:
        header = f"Root=1-65f1a2b3-{number + 1:024x};Parent={number + 1:016x};Sampled=1"
        return {**record, "attributes": {**record["attributes"], "AWSTraceHeader": header}}

    with start("def handler(event, context):\n    return None\n") as started:
        started.invoke({"Records": [message(number) for number in range(300)]})
        started.frames.wait_for(5, 1)
        span = started.frames.named("app.handler")
    assert len(span.links) == 128
    assert attributes(span)["messaging.batch.message_count"] == 300


CALLS = """
import http.client
from urllib.parse import urlsplit
def handler(event, context):
    connection = http.client.HTTPConnection(urlsplit(event["Records"][0]["body"]).netloc)
    connection.request("GET", "/")
    return connection.getresponse().status
"""


def test_sqs_2_a_continued_trace_goes_on_in_calls(start: Start, website: Any) -> None:
    row = case("sqs-one-message-undecided")
    event = row["event"]
    event["Records"][0]["body"] = website.url
    with start(CALLS) as started:
        assert started.invoke(event, header=row["header"]).json == 200
        started.frames.wait_for(5, 1)
        call, handler = started.frames.ended()
    assert call.trace_id == handler.trace_id
    # The producer's decision and its Lineage, not the invocation's.
    root = handler.trace_id.hex()
    expected = f"Root=1-{root[:8]}-{root[8:]};Parent={call.span_id.hex()};Sampled=1;Lineage=1:2:3"
    assert website.requests[0][2]["x-amzn-trace-id"] == expected
    # What the extension is told is what the runtime said.
    assert started.frames.of(2)[0].endswith(row["header"].encode())


def test_an_event_of_nobodys_loads_nothing(start: Start) -> None:
    source = "import sys\ndef handler(event, context):\n    return sorted(m for m in sys.modules if 'trigger' in m)\n"
    with start(source) as started:
        for event in ({}, {"order": 42}, [1], None, "text", 1):
            assert started.invoke(event).json == []
        assert started.invoke({"Records": []}).json == [
            "_otel_xray_agent.triggers",
            "_otel_xray_agent.triggers.events",
            "_otel_xray_agent.triggers.messages",
            "_otel_xray_agent.triggers.trigger",
        ]


def test_the_table_names_each_service() -> None:
    services = {
        "alb",
        "api",
        "dynamodb",
        "eventbridge",
        "function",
        "kafka",
        "kinesis",
        "msk",
        "s3",
        "sns",
        "sqs",
        "step",
    }
    assert services <= {name.split("-")[0] for name in CASES}
