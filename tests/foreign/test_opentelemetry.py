"""OpenTelemetry's own test suites inside of a function: under the agent they fail in nothing that is not listed."""

from __future__ import annotations

from pathlib import Path

import pytest
import stage
from installed import tool
from suites import different, listed, outcomes

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


@pytest.mark.parametrize("suite", ["opentelemetry_api", "opentelemetry_sdk"])
def test_a_suite_passes_but_for_what_is_listed(tmp_path: Path, suite: str) -> None:
    (folder,) = (tool("foreign") / "suites").glob(f"{suite}-*")
    packages, sdk = str(tool("foreign") / "packages"), str(stage.bundled("opentelemetry-sdk"))
    source = APP.format(packages=packages, sdk=sdk)
    without, with_layer = (outcomes(tmp_path, source, str(folder), layer=layer) for layer in (False, True))
    assert len(without) > 200
    assert "passed" in without.values()
    assert different(without, with_layer) == listed(suite)
