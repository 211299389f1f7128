"""Like calls past a hundred of an invocation are folded into one span (PL-77): tests/folding.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from _otel_xray_agent import record
from _otel_xray_agent.libraries.calls import Call, Calls
from _otel_xray_agent.otel.bridge import Stand
from _otel_xray_agent.record import wire
from conftest import Start, Website
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from stage import ROOT, attributes

TABLE = json.loads((ROOT / "tests" / "folding.json").read_text())
CASES = TABLE["cases"]


class Stage:
    """A recorder whose clock only calls turn, and what it writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1_700_000_000_000_000_000
        self.frames: list[tuple[int, bytes]] = []
        self.writes = 0
        connection = wire.Wire("nobody", b"{}")
        monkeypatch.setattr(connection, "_socket", self)
        monkeypatch.setattr(record, "now_ns", lambda: self.now_ns)
        self.recorder = record.Recorder(connection, {})

        class Client:
            def call(client, given: dict[str, Any], ms: float) -> None:
                self.now_ns += int(ms * 1_000_000)
                if "error" in given:
                    raise RuntimeError(given["error"])

        def describe(call: Call) -> str:
            given = call.arguments[1]
            about = {"server.address": given.get("address"), "server.port": given.get("port")}
            call.span.attributes.update({key: value for key, value in about.items() if value is not None})
            if given.get("port"):
                call.span.attributes["db.system.name"] = "redis"
            call.span.attributes.update(given.get("attributes", {}))
            return given["name"]

        Calls(self.recorder, "library", "a call").record(Client, "call", describe)
        self.client = Client()

    def settimeout(self, seconds: float) -> None:
        """As a socket."""

    def sendall(self, data: bytes) -> None:
        self.writes += 1
        while data:
            length = int.from_bytes(data[1:5], "little")
            self.frames.append((data[0], data[5 : 5 + length]))
            data = data[5 + length :]

    def close(self) -> None:
        """As a socket."""

    def invoke(self, calls: list[dict[str, Any]]) -> None:
        self.recorder.enter("app.handler", "", "request", 0, {})
        for given in calls:
            lasts = given.get("ms", [1])
            for number in range(given["times"]):
                try:
                    self.client.call(given, lasts[number % len(lasts)])
                except RuntimeError:
                    assert "error" in given
        self.recorder.leave("request", None)

    def spans(self, kind: int) -> list[Span]:
        found = [Span.FromString(payload) for sort, payload in self.frames if sort == kind]
        return [span for span in found if span.name != "app.handler"]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(monkeypatch)
    yield stage
    stage.recorder.wire._socket = None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["it"])
def test_the_cases_that_all_agents_share_pl_77(stage: Stage, case: dict[str, Any]) -> None:
    for _ in range(2):
        stage.frames.clear()
        # Each invocation begins to count anew.
        stage.invoke(case["calls"])
        ended, started = stage.spans(4), stage.spans(3)
        assert (len(ended), len(started)) == (case["spans"], case["announced"])
        assert {span.span_id for span in ended} == {span.span_id for span in started}
        folded = [span for span in ended if "folded_calls" in attributes(span)]
        assert [span.name for span in folded] == [fold["name"] for fold in case["folded"]]
        for span, fold in zip(folded, case["folded"]):
            seen = attributes(span)
            assert {key: seen.get(key) for key in fold["attributes"]} == fold["attributes"]
            assert not seen.keys() & {*fold["without"]}
            assert seen.keys() >= {*fold.get("with", [])}
            if "failed" in fold:
                assert span.status.code == (2 if fold["failed"] else 0)
            assert span.status.message == fold.get("message", "")
            assert len(span.events) == ("message" in fold)
            assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano <= stage.now_ns
        # The handler's span is the last, and done follows.
        assert [kind for kind, _ in stage.frames[-2:]] == [4, 5]


def test_three_thousand_like_calls_are_a_few_writes_and_bytes(stage: Stage) -> None:
    stage.invoke([{"name": "GET", "address": "cache", "port": 6379, "times": 3000}])
    # Of a hundred calls two each, the fold's announcement, and the invocation's two.
    assert stage.writes == 2 * TABLE["limit"] + 3
    assert sum(len(payload) + 5 for _, payload in stage.frames) < 40_000


def test_more_kinds_than_are_counted_have_their_own_spans(stage: Stage) -> None:
    stage.invoke([{"name": f"GET {number}", "times": 1} for number in range(record.MAX_KINDS)])
    stage.frames.clear()
    calls = [{"name": f"GET {number}", "times": 1} for number in range(record.MAX_KINDS)]
    stage.invoke([*calls, {"name": "late", "times": 150}, {"name": "GET 7", "times": 150}])
    names = [span.name for span in stage.spans(4)]
    assert (names.count("late"), names.count("GET 7")) == (150, TABLE["limit"] + 1)


def test_a_call_that_outlives_its_invocation_is_not_lost(stage: Stage) -> None:
    recorder = stage.recorder
    recorder.enter("app.handler", "", "request", 0, {})
    for _ in range(TABLE["limit"] + 1):
        stage.client.call({"name": "GET"}, 1)
    begun = recorder.call("GET")
    assert begun is not None
    recorder.announce_call(begun[0])
    recorder.leave("request", None)
    recorder.finish(*begun)
    ended = stage.spans(4)
    assert len(ended) == len({span.span_id for span in ended}) == TABLE["limit"] + 2
    assert attributes(ended[-2])["folded_calls"] == 1
    assert "folded_calls" not in attributes(ended[-1])


def test_what_stands_for_a_span_of_others_is_never_folded(stage: Stage) -> None:
    stage.recorder.enter("app.handler", "", "request", 0, {})
    for _ in range(2 * TABLE["limit"]):
        stand = Stand(SimpleNamespace(trace_id=1, span_id=2, is_remote=False), None, 1)
        assert "Parent=0000000000000002;" in stage.recorder.headers(stand)["X-Amzn-Trace-Id"]
    stage.recorder.leave("request", None)
    assert stage.spans(3) == stage.spans(4) == []


MANY = """
import urllib.request
def handler(event, context):
    for number in range(130):
        urllib.request.urlopen(event + "/" + str(number)).read()
"""


def test_what_folded_calls_tell_of_the_trace_names_the_fold(start: Start, website: Website) -> None:
    with start(MANY) as function:
        assert function.invoke(website.url).json is None
        function.frames.wait_for(5, 1)
        ended = [span for span in function.frames.ended() if span.name == "GET"]
        # The bodies of those with a span of their own were waited for.
        assert len(function.frames.of(6)) == 2 * TABLE["limit"]
        assert function.output() == ""
    assert len(ended) == TABLE["limit"] + 1
    fold = ended[-1]
    seen = attributes(fold)
    assert (seen["folded_calls"], seen["http.response.status_code"]) == (30, 200)
    assert "url.full" not in seen
    told = [sent["x-amzn-trace-id"].partition("Parent=")[2][:16] for *_, sent in website.requests]
    assert told == [span.span_id.hex() for span in ended[:-1]] + [fold.span_id.hex()] * 30
