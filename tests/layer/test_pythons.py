"""Where the interpreters that compile the agent come from: the machine, else tools.sh, which may install them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import pythons

RUNNING = f"3.{sys.version_info.minor}"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Python and a tools.sh that has the running version; the file keeps what it was asked."""
    said = tmp_path / "asked"
    tools = tmp_path / "tools.sh"
    known = f'case $* in *"python {RUNNING}") echo "{sys.executable}" ;; *) exit 1 ;; esac'
    tools.write_text(f'#!/bin/sh\necho "$*" >>"{said}"\n{known}\n')
    tools.chmod(0o755)
    monkeypatch.setattr(pythons, "TOOLS", tools)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return said


def test_what_the_machine_lacks_is_installed_for_a_build_and_only_looked_for_by_others(asked: Path) -> None:
    assert pythons.find() == {RUNNING: Path(sys.executable)}
    assert asked.read_text().splitlines() == [f"--installed python {version}" for version in pythons.VERSIONS]
    asked.unlink()
    assert pythons.obtain() == {RUNNING: Path(sys.executable)}
    assert asked.read_text().splitlines() == [f"python {version}" for version in pythons.VERSIONS]


def test_an_interpreter_of_the_machine_goes_first(asked: Path) -> None:
    own = Path(os.environ["PATH"]) / f"python{RUNNING}"
    own.parent.mkdir()
    own.symlink_to(sys.executable)
    # pyenv's shim of a version that is not switched on, and one that is no Python.
    shim = own.with_name("python3.9" if RUNNING != "3.9" else "python3.10")
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    assert pythons.obtain() == {RUNNING: own}


def test_every_version_that_the_agent_supports_is_known_to_tools() -> None:
    known = pythons.TOOLS.read_text()
    for version in pythons.VERSIONS:
        assert f"    {version}) " in known, version
