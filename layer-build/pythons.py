"""The Python interpreters that compile the agent: the machine's, else those that tools.sh can install.

Run alone, it prints the interpreters of the versions it is given ("3.9 3.15"), or of all that the agent supports, and
fails where one is missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import plan

TOOLS = Path(__file__).with_name("tools.sh")
VERSIONS = [f"3.{minor}" for minor in plan.PYTHON_MINORS]
_VERSION = "import sys; assert sys.implementation.name == 'cpython'; print('%d.%d' % sys.version_info[:2])"


def find() -> dict[str, Path]:
    """A working CPython of each supported minor version ("3.13") that is there, with nothing installed for it."""
    return {version: path for version in VERSIONS if (path := _on_machine(version) or _installed(version))}


def obtain(versions: Sequence[str] = VERSIONS) -> dict[str, Path]:
    """The same after installing what is missing. A version that cannot be had is left out; tools.sh has said why."""
    return {version: path for version in versions if (path := _on_machine(version) or _install(version))}


def _on_machine(version: str) -> Path | None:
    """From pyenv's versions, and from PATH."""
    return next((path for path in _candidates(version) if _is(path, version)), None)


def _installed(version: str) -> Path | None:
    ask = [TOOLS, "--installed", "python", version]
    return _printed(subprocess.run(ask, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False))


def _install(version: str) -> Path | None:
    return _printed(subprocess.run([TOOLS, "python", version], stdout=subprocess.PIPE, text=True, check=False))


def _printed(done: subprocess.CompletedProcess[str]) -> Path | None:
    return Path(done.stdout.strip()) if done.returncode == 0 else None


def _candidates(version: str) -> list[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True)
    on_path = [Path(folder) / f"python{version}" for folder in os.get_exec_path()]
    return installed + [path for path in on_path if path.is_file()]


def _is(interpreter: Path, version: str) -> bool:
    # pyenv's shims exist for versions that are not switched on, and then exit non-zero.
    try:
        answer = subprocess.run([interpreter, "-I", "-c", _VERSION], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return answer.returncode == 0 and answer.stdout.strip() == version


def main(versions: Sequence[str]) -> int:
    found = obtain(versions or VERSIONS)
    for interpreter in found.values():
        print(interpreter)
    return 0 if len(found) == len(versions or VERSIONS) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
