"""What the machine lacks is said at once, all of it, with how to get it; and the README names it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from installed import ROOT

NEEDS = ROOT / "layer-build" / "needs.sh"
SECTION = re.search(r"## Two commands\n(.*?)\n## ", (ROOT / "README.md").read_text(), re.DOTALL)

LAYER = {"Rust": "Rust", "cc": "C compiler", "Python": "Python 3.9", "Node.js": "Node.js 18", "npm": "npm"}
TEST = {
    **LAYER,
    "rustfmt": "rustup",
    "clippy": "rustup",
    "mvn": "Maven",
    "java": "JDK",
    "javac": "JDK",
    "cmake": "CMake",
    "c++": "C++ compiler",
    "xz": "xz",
    "git": "Git",
    "bash": "Bash",
    "ip": "iproute2",
    "unshare": "util-linux",
    "namespaces": "namespaces",
    "apt-get": "apt-get",
    "setpriv": "util-linux",
}
GOALS = {"layer": LAYER, "demo": LAYER, "release": {**LAYER, "mvn": "Maven"}, "test": TEST}
"""What a goal needs, by the name that it goes by there, and by the README's word for it."""


def asked(goal: str, path: Path) -> tuple[int, list[str]]:
    """The exit code, and the names of what is missing on a machine whose programs are all in this folder."""
    environment = {"PATH": str(path), "HOME": str(path)}
    done = subprocess.run(["/bin/sh", NEEDS, goal], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, re.findall(r"^  ([^:]+): \w", done.stderr, re.MULTILINE)


def provide(path: Path, *programs: str, exit_code: int = 0) -> None:
    for program in programs:
        (path / program).write_text(f"#!/bin/sh\nexit {exit_code}\n")
        (path / program).chmod(0o755)


@pytest.mark.parametrize("goal", GOALS)
def test_everything_that_is_missing_is_said_at_once(goal: str, tmp_path: Path) -> None:
    assert asked(goal, tmp_path) == (1, list(GOALS[goal]))


@pytest.mark.parametrize("goal", GOALS)
def test_nothing_is_said_where_nothing_is_missing(goal: str, tmp_path: Path) -> None:
    provide(tmp_path, "cargo", "python3", "node", *(set(TEST) - {"Rust", "Python", "Node.js", "rustfmt", "clippy"}))
    assert asked(goal, tmp_path) == (0, [])


def test_programs_that_are_there_and_too_old_or_broken_are_missing(tmp_path: Path) -> None:
    provide(tmp_path, "cc", "npm")
    provide(tmp_path, "cargo", "python3", "node", exit_code=1)
    assert asked("layer", tmp_path) == (1, ["Rust", "Python", "Node.js"])


def test_the_readme_names_it_all() -> None:
    assert SECTION
    for word in {word for goal in GOALS.values() for word in goal.values()}:
        assert word in SECTION[1], word


def test_a_goal_that_nobody_knows_is_an_error(tmp_path: Path) -> None:
    assert asked("everything", tmp_path) == (2, [])
