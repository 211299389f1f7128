"""OpenTelemetry's own test suites inside of a function: under the agent they fail in nothing that is not listed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import stage
from installed import tool

LISTED = Path(__file__).parent / "differences.tsv"
BOUND_S = 900
"""Only what hangs reaches it."""

APP = """
import os, sys
sys.path[1:1] = [{packages!r}, {sdk!r}]
from opentelemetry import trace
import pytest
class Outcomes:
    def __init__(self):
        self.seen = {{}}
    def pytest_runtest_logreport(self, report):
        if report.when == "call" or not report.passed:
            self.seen[report.nodeid] = report.outcome
    def pytest_collectreport(self, report):
        if report.failed:
            self.seen[report.nodeid] = "not collected: " + str(report.longrepr)
def handler(event, context):
    outcomes = Outcomes()
    os.chdir(event)
    # Needs a library that reads YAML.
    ignored = "--ignore=tests/_configuration"
    pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", event, ignored, "tests"], plugins=[outcomes])
    return outcomes.seen
"""


def outcomes(folder: Path, suite: Path, *, layer: bool) -> dict[str, str]:
    source = APP.format(
        packages=str(tool("foreign") / "packages"),
        sdk=str(stage.bundled("opentelemetry-sdk")),
    )
    with stage.function(folder, source, layer=layer) as function:
        function.invoke(str(suite), header=None, answered=False)
        seen: dict[str, str] = function.answer(BOUND_S).json
        if layer:
            function.frames.wait_for(5, 1)
        return seen


def listed(suite: str) -> set[str]:
    with LISTED.open(newline="") as table:
        return {row["test"] for row in csv.DictReader(table, delimiter="\t") if row["suite"] == suite}


@pytest.mark.parametrize("suite", ["opentelemetry_api", "opentelemetry_sdk"])
def test_a_suite_passes_but_for_what_is_listed(tmp_path: Path, suite: str) -> None:
    (folder,) = (tool("foreign") / "suites").glob(f"{suite}-*")
    without, with_layer = (outcomes(tmp_path, folder, layer=layer) for layer in (False, True))
    assert len(without) > 200
    assert with_layer.keys() == without.keys()
    assert "passed" in json.dumps(without)
    different = {test for test, outcome in without.items() if with_layer[test] != outcome}
    assert different == listed(suite)
