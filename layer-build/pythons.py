"""Finds the Python interpreters on this machine that the agent's files are compiled with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import plan

_VERSION = "import sys; assert sys.implementation.name == 'cpython'; print('%d.%d' % sys.version_info[:2])"


def find() -> dict[str, Path]:
    """The first working CPython of each supported minor version ("3.13"), from PATH and from pyenv's versions."""
    found = {}
    for minor in plan.PYTHON_MINORS:
        version = f"3.{minor}"
        interpreter = next((path for path in _candidates(version) if _is(path, version)), None)
        if interpreter is not None:
            found[version] = interpreter
    return found


def _candidates(version: str) -> list[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True)
    on_path = [Path(folder) / f"python{version}" for folder in os.get_exec_path()]
    return installed + [path for path in on_path if path.is_file()]


def _is(interpreter: Path, version: str) -> bool:
    # pyenv's shims exist for versions that are not switched on, and then exit non-zero.
    try:
        answer = subprocess.run(
            [interpreter, "-I", "-c", _VERSION], capture_output=True, text=True, timeout=20, check=False
        )
    except OSError:
        return False
    return answer.returncode == 0 and answer.stdout.strip() == version
