"""Bad endings under AWS's own emulator: timeout, exit, a runtime that does not hear SIGTERM (T-6, T-7, T-8)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import layer_zip
import pytest
from emulator import ENDINGS, Run, emulate

WRAPPER = "/opt/otel-instrument"


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), tmp_path_factory.mktemp("layer") / "opt")


def run(opt: Path, events: list[dict[str, Any]], timeout_s: int = 30, wrapper: str = WRAPPER) -> dict[str, Any]:
    return emulate(Run(layer=str(opt), wrapper=wrapper, events=events, function=ENDINGS, timeout_s=timeout_s))


def new_documents(outcome: dict[str, Any], index: int) -> list[dict[str, Any]]:
    """What X-Ray got in one invocation, its shutdown included."""
    before = {document["id"] for document in outcome["answers"][index - 1]["documents"]} if index else set()
    return [document for document in outcome["answers"][index]["documents"] if document["id"] not in before]


def exits_of_the_extension(log: str) -> list[str]:
    """Signal and status of each exit of the extension, as the emulator saw them: one of the two is there."""
    return re.findall(r"(Signo:\S+ ExitStatus:\S+).*\n.*Handling termination for extension-otel-xray", log)


def pid(answer: dict[str, Any]) -> int:
    return json.loads(answer["body"])["pid"]


def assert_ended_by_itself(outcome: dict[str, Any], times: int) -> None:
    """Every extension process left with status 0, none was killed."""
    exits = exits_of_the_extension(outcome["log"])
    assert len(exits) == times, exits
    assert not [end for end in exits if "Signo:0x" in end], exits


def test_t6_a_timeout_is_traced_and_the_next_invocation_starts_again(opt: Path) -> None:
    outcome = run(opt, [{}, {"sleep_s": 30}, {}], timeout_s=3)
    first, hung, third = outcome["answers"]
    assert (first["status"], third["status"]) == (200, 200)
    assert "Task timed out after 3.00 seconds" in hung["body"]
    assert pid(first) != pid(third), "a suppressed init"
    for index in range(3):
        names = [document["name"] for document in new_documents(outcome, index)]
        assert names.count("function") == 1, (index, names)
    [segment] = [document for document in new_documents(outcome, 1) if document["name"] == "function"]
    assert segment["fault"] is True
    assert_ended_by_itself(outcome, 2)


def test_t7_a_runtime_that_exits_leaves_its_trace(opt: Path) -> None:
    outcome = run(opt, [{}, {"exit": 7}, {}])
    first, crashed, third = outcome["answers"]
    assert (first["status"], crashed["status"], third["status"]) == (200, 502, 200)
    assert "exit status 7" in crashed["body"]
    [segment] = [document for document in new_documents(outcome, 1) if document["name"] == "function"]
    assert segment["fault"] is True
    assert_ended_by_itself(outcome, 2)


def test_t8_a_runtime_that_does_not_hear_sigterm_leaves_the_extension_time(opt: Path) -> None:
    outcome = run(opt, [{}], wrapper="/var/task/deaf")
    assert outcome["answers"][0]["status"] == 200
    assert len(new_documents(outcome, 0)) >= 1
    assert re.search(r"Sending SIGKILL to runtime-\d+", outcome["log"]), "it did not end by itself"
    assert_ended_by_itself(outcome, 1)
