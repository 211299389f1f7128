"""The layer under the emulator's Managed Instances mode: T-1, T-8, T-11, T-17. That mode needs root.

Its Telemetry API works; there is no INVOKE, no end of an invocation and no freeze.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import emulator
import layer_zip
import pytest
from emulator import ENDINGS, Run, emulate

WRAPPER = "/opt/otel-instrument"
CONCURRENCY = 2
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the user of a managed instance")


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layer")
    return layer_zip.unpack(layer_zip.zip_for(layer_zip.HOST_ARCH), folder / "opt")


@pytest.fixture(scope="module")
def managed(opt: Path) -> dict[str, Any]:
    """Four invocations, two at a time."""
    events = [{"sleep_s": 0.2} for _ in range(4)]
    return emulate(Run(layer=str(opt), wrapper=WRAPPER, events=events, function=ENDINGS, managed=CONCURRENCY))


def test_t1_t11_registers_for_shutdown_only_before_the_runtime_starts(managed: dict[str, Any]) -> None:
    patterns = [
        r"External agent registered.*agentName=otel-xray .*events=\[SHUTDOWN\]",
        r"Start runtime",
        r"GET.*/2018-06-01/runtime/invocation/next",
    ]
    found = [re.search(pattern, managed["log"]) for pattern in patterns]
    assert all(found), found
    places = [match.start() for match in found if match]
    assert places == sorted(places)
    # T-17: the layer's files were used as the zip has them, by another user than root.
    assert "Exec" in managed["log"] and "Permission denied" not in managed["log"]


def test_t11_invocations_at_once_are_sent_while_it_runs_and_at_the_end(managed: dict[str, Any]) -> None:
    assert [answer["status"] for answer in managed["answers"]] == [200] * 4
    assert len({json.loads(answer["body"])["pid"] for answer in managed["answers"]}) == CONCURRENCY
    assert managed["answers"][-1]["documents"], "a continuous flush"
    names = [document["name"] for document in managed["documents"]]
    assert names.count("function") == 4, names
    root = re.fullmatch(r"Root=(.*);Parent=.*", emulator.TRACE_HEADER).group(1)
    assert {document["trace_id"] for document in managed["documents"]} == {root}


def accounts(outcome: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in outcome["log"].splitlines() if "otel_xray.accounting" in line]


def test_shutdown_is_clean_and_accounts_for_every_span(managed: dict[str, Any]) -> None:
    [account] = accounts(managed)
    assert account["received"] == account["sent"] == 4
    assert re.search(r"Name:extension-otel-xray Cause:exited Signo:<nil> ExitStatus:0", managed["log"])


def test_t8_a_runtime_that_does_not_hear_sigterm_leaves_the_extension_time(opt: Path) -> None:
    run = Run(layer=str(opt), wrapper="/var/task/deaf", events=[{}], function=ENDINGS, managed=CONCURRENCY)
    outcome = emulate(run)
    assert outcome["answers"][0]["status"] == 200
    assert re.search(r"Name:runtime Cause:signaled Signo:9", outcome["log"]), "it did not end by itself"
    [account] = accounts(outcome)
    assert account["received"] == account["sent"] == 1
    assert re.search(r"Name:extension-otel-xray Cause:exited Signo:<nil> ExitStatus:0", outcome["log"])


def test_t17_a_layer_that_lost_a_mode_bit_takes_the_instance_down(opt: Path, tmp_path: Path) -> None:
    spoiled = Path(shutil.copytree(opt, tmp_path / "opt"))
    (spoiled / "extensions" / "otel-xray").chmod(0o644)
    with pytest.raises(AssertionError, match=r"LaunchError|permission denied"):
        emulate(Run(layer=str(spoiled), wrapper=WRAPPER, events=[{}], function=ENDINGS, managed=CONCURRENCY))
