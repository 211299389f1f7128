"""What tests run in: nothing can be installed or built there, and no registry is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SEALED = Path(__file__).parents[1] / "sealed.sh"
MAKEFILE = SEALED.parents[1] / "Makefile"
TOOLS = (
    "apt-get",
    "c++",
    "cargo",
    "cc",
    "cmake",
    "g++",
    "gcc",
    "go",
    "javac",
    "make",
    "mvn",
    "npm",
    "npx",
    "pip",
    "pip3",
    "rustc",
)


def sealed(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SEALED), *command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("tool", TOOLS)
def test_what_installs_or_builds_is_not_run(tool: str) -> None:
    ran = sealed(tool, "--version")
    assert (ran.returncode, ran.stdout) == (97, "")
    assert f"a test ran {tool};" in ran.stderr


def test_pip_of_an_interpreter_finds_nothing(tmp_path: Path) -> None:
    ran = sealed(sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(tmp_path), "iniconfig")
    assert ran.returncode != 0
    assert "No matching distribution found" in ran.stderr, ran.stderr
    assert not list(tmp_path.iterdir())


def test_programs_called_by_their_paths_ask_no_registry() -> None:
    names = ("PIP_NO_INDEX", "CARGO_NET_OFFLINE", "GOPROXY", "npm_config_offline")
    ran = sealed(sys.executable, "-c", f"import os; print(*(os.environ[name] for name in {names}))")
    assert ran.stdout.split() == ["1", "true", "off", "true"]


def test_every_suite_of_pytest_and_node_runs_in_it() -> None:
    scripts = [MAKEFILE, *SEALED.parent.glob("*/every_version.sh")]
    for script in scripts:
        for line in script.read_text().splitlines():
            if "-m pytest" in line or "--test-reporter" in line:
                assert "tests/sealed.sh" in line, f"{script.name}: {line}"


def test_these_tests_are_in_it_too() -> None:
    assert "sealed" in os.environ["PATH"].split(os.pathsep)[0]
