"""The check of the extension's dependencies (B-1) can fail."""

from __future__ import annotations

import subprocess
import sys

import dependencies
import pytest

GOOD = ["otel-xray v0.1.0 (/x/extension)", "hyper v1.12.0", "h2 v0.4.12", "rustls v0.23.46", "ring v0.17.14", ""]


def test_a_good_tree_passes() -> None:
    assert dependencies.unwanted(GOOD) == []


@pytest.mark.parametrize(
    "package", ["aws-lc-rs v1.15.1", "aws-lc-sys v0.34.0", "hyper v0.14.32", "h2 v0.3.27", "rustls v0.21.12 (*)"]
)
def test_each_unwanted_package_is_named(package: str) -> None:
    [finding] = dependencies.unwanted([*GOOD, package])
    assert finding.startswith(package)


@pytest.mark.parametrize(("lines", "exit_code"), [(GOOD, 0), ([*GOOD, "h2 v0.3.27"], 1), ([], 1)])
def test_exit_code(lines: list[str], exit_code: int) -> None:
    program = [sys.executable, dependencies.__file__]
    result = subprocess.run(program, input="\n".join(lines), text=True, capture_output=True, check=False)
    assert result.returncode == exit_code, result.stderr
