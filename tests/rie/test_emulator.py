"""The built layer and the sample function under AWS's own emulator: cold start to shutdown.

The emulator gives the runtime no trace header and the extension the caller's, so the function's trace is its own,
linked to the caller's. Its Telemetry API answers 202 and sends nothing.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import emulator
import layer_zip
import pytest
from emulator import Run, emulate

KEY = "order-42.json"
EVENTS = [{"key": KEY}, {"key": KEY, "missing": "shade"}, {"key": KEY}]
WRAPPER = "/opt/otel-instrument"
COLLECTOR_ZIP = f"otel-xray-collector-{layer_zip.HOST_ARCH}.zip"


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer") / "opt")


@pytest.fixture(scope="module")
def traced(opt: Path) -> dict[str, Any]:
    """Three invocations with the layer, the second of which raises."""
    return emulate(Run(layer=str(opt), wrapper=WRAPPER, events=EVENTS))


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """The same three without any layer."""
    return emulate(Run(events=EVENTS))


def answers(outcome: dict[str, Any]) -> list[tuple[int, Any]]:
    """Status and body of each; the request id in an error's body differs from run to run."""
    bodies = [json.loads(answer["body"]) for answer in outcome["answers"]]
    for body in bodies:
        body.pop("requestId", None)
    return [(answer["status"], body) for answer, body in zip(outcome["answers"], bodies)]


def order(log: str, *patterns: str) -> list[int]:
    """Where each pattern first stands in the log."""
    return [found.start() if (found := re.search(pattern, log)) else -1 for pattern in patterns]


def test_t1_registers_by_base_name_before_the_runtime_starts(traced: dict[str, Any]) -> None:
    places = order(
        traced["log"],
        # What the emulator says of its answer, it may say after that has let the runtime start.
        r"POST /2020-01-01/extension/register",
        r"Start runtime",
        r"GET /2018-06-01/runtime/invocation/next",
        r"INIT RTDONE\(status: success\)",
    )
    assert -1 not in places
    assert places == sorted(places)
    assert re.search(r"External agent otel-xray \(.*\) registered, subscribed to \[INVOKE SHUTDOWN\]", traced["log"])
    assert "GET /2020-01-01/extension/event/next" in traced["log"][: places[3]]


def test_answers_are_those_without_the_layer(traced: dict[str, Any], plain: dict[str, Any]) -> None:
    assert answers(plain)[0] == (200, {"order": 42, "packed": 3})
    assert answers(plain)[1][1]["errorType"] == "OutOfStock"
    assert answers(traced) == answers(plain)
    assert plain["documents"] == []


def test_t2_t4_each_invocation_is_delivered_before_it_ends(traced: dict[str, Any]) -> None:
    seen: set[str] = set()
    for index, answer in enumerate(traced["answers"]):
        new = [document for document in answer["documents"] if document["id"] not in seen]
        names = Counter(document["name"] for document in new)
        # The second invocation raises in `pack`, before it sends a message.
        assert (names["function"], names["S3"], names["SQS"], names["pack"]) == (1, 1, int(index != 1), 1), index
        seen |= {document["id"] for document in new}
    # One `next` of the extension for each invocation, and the one that is answered by SHUTDOWN.
    assert traced["log"].count("GET /2020-01-01/extension/event/next") == len(EVENTS) + 1
    # Nothing was left for the shutdown to send.
    assert {document["id"] for document in traced["documents"]} == seen


def test_own_trace_is_one_segment_linked_to_the_caller(traced: dict[str, Any]) -> None:
    root, parent = re.fullmatch(r"Root=(.*);Parent=(.*);Sampled=1", emulator.TRACE_HEADER).groups()
    segments = [document for document in traced["documents"] if document.get("type") != "subsegment"]
    assert len(segments) == len(EVENTS)
    assert len({segment["trace_id"] for segment in segments} - {root}) == len(EVENTS)
    for segment in segments:
        assert (segment["name"], segment["origin"]) == ("function", "AWS::Lambda::Function")
        assert [(link["trace_id"], link["id"]) for link in segment["links"]] == [(root, parent)]
    assert [segment.get("fault", False) for segment in sorted(segments, key=lambda s: s["start_time"])] == [
        False,
        True,
        False,
    ]


def test_shutdown_is_clean_and_accounts_for_every_span(traced: dict[str, Any]) -> None:
    log = traced["log"]
    ending = log[log.index("Shutting down the agents.") :]
    # The extension ended by itself: an exit status, no signal.
    assert re.search(r"Signo:<nil> ExitStatus:0x.*\n.*Handling termination for extension-otel-xray", ending)
    assert "Signo:0x" not in ending
    [account] = [json.loads(line) for line in log.splitlines() if "otel_xray.accounting" in line]
    assert account["received"] == account["sent"] == len(traced["documents"])
    assert not re.search(r"\[otel-xray\] (WARN|ERROR)", log)


def test_t12_without_agents_the_wrapper_starts_the_function_unchanged(tmp_path: Path, plain: dict[str, Any]) -> None:
    archive = layer_zip.zip_for(layer_zip.HOST_ARCH).with_name(COLLECTOR_ZIP)
    opt = layer_zip.unpack(archive, tmp_path / "opt")
    outcome = emulate(Run(layer=str(opt), wrapper=WRAPPER, events=EVENTS))
    assert answers(outcome) == answers(plain)
    assert outcome["documents"] == []
    assert "External agent otel-xray" in outcome["log"]


def test_a_name_of_the_socket_that_is_none_costs_a_line_and_no_span(opt: Path, plain: dict[str, Any]) -> None:
    """Here the default is nobody else's: the network is this test's own."""
    variables = {"OTEL_XRAY_AGENT_SOCKET": "../../var/task/app.py"}
    outcome = emulate(Run(layer=str(opt), wrapper=WRAPPER, events=EVENTS, variables=variables))
    assert answers(outcome) == answers(plain)
    assert Counter(document["name"] for document in outcome["documents"])["S3"] == len(EVENTS)
    [line] = re.findall(r"\[otel-xray\] WARN.*", outcome["log"])
    assert "OTEL_XRAY_AGENT_SOCKET" in line
    assert "using the default (otel-xray)" in line


def test_a_lost_mode_bit_takes_the_function_down(opt: Path, tmp_path: Path) -> None:
    """L-1.5: why the zips are checked for modes, and that this emulator would notice."""
    spoiled = Path(shutil.copytree(opt, tmp_path / "opt"))
    (spoiled / "extensions" / "otel-xray").chmod(0o644)
    outcome = emulate(Run(layer=str(spoiled), wrapper=WRAPPER, events=EVENTS[:1]))
    assert outcome["answers"][0]["status"] != 200
    assert "Extension.LaunchError" in outcome["log"]
