"""CPython's own tests of http and urllib inside of a function: they fail in nothing that is not listed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import stage
from suites import different, listed, outcomes

MODULES = (
    "test_http_cookiejar",
    "test_http_cookies",
    "test_httplib",
    "test_httpservers",
    "test_urllib",
    "test_urllib2",
    "test_urllib2_localnet",
    "test_urllib_response",
    "test_urlparse",
)
"""Those that ask nothing of the world outside."""

APP = """
import unittest
class Outcomes(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.seen = {}
    def note(self, test, outcome):
        self.seen[str(test.id())] = outcome
    def addSuccess(self, test):
        self.seen.setdefault(str(test.id()), "passed")
    def addFailure(self, test, error):
        self.note(test, "failed")
    def addError(self, test, error):
        self.note(test, "failed")
    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.note(test, "failed")
    def addSkip(self, test, reason):
        self.note(test, "skipped")
    def addExpectedFailure(self, test, error):
        self.note(test, "failed as expected")
    def addUnexpectedSuccess(self, test):
        self.note(test, "passed unexpectedly")
def handler(event, context):
    outcomes = Outcomes()
    names = ["test." + name for name in event.split()]
    unittest.defaultTestLoader.loadTestsFromNames(names).run(outcomes)
    return outcomes.seen
"""


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    python = stage.interpreter()
    if subprocess.run([python, "-c", "import test.test_httplib"], check=False, capture_output=True).returncode:
        pytest.skip(f"{python} comes without CPython's tests (its package 'test')")
    return outcomes(tmp_path_factory.mktemp("without"), APP, " ".join(MODULES), layer=False)


def test_the_suites_pass_but_for_what_is_listed(tmp_path: Path, without: dict[str, str]) -> None:
    with_layer = outcomes(tmp_path, APP, " ".join(MODULES), layer=True)
    assert list(without.values()).count("passed") > 500
    assert different(without, with_layer) == listed("cpython")


def test_where_nobody_is_told_of_the_trace_the_suites_pass_as_without_the_layer(
    tmp_path: Path, without: dict[str, str]
) -> None:
    variables = {"OTEL_XRAY_PROPAGATE": "none"}
    with_layer = outcomes(tmp_path, APP, " ".join(MODULES), layer=True, variables=variables)
    assert different(without, with_layer) == set()
