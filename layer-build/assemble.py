"""Lays the built extension, the launcher and the agents out as /opt and packs the zips."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pack
import plan
import pythons

ROOT = Path(__file__).resolve().parent.parent

# Runs under each interpreter. A fresh process and a fixed hash seed: the order of set constants is part of the file.
# Without docstrings: they are read at every cold start, and by nobody.
_COMPILE = """
import importlib.util, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
for line in sys.stdin.read().splitlines():
    source, shown = line.split("\\t")
    compiled = importlib.util.cache_from_source(source)
    py_compile.compile(source, compiled, shown, doraise=True, optimize=2, invalidation_mode=mode)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", required=True, choices=plan.MACHINES)
    parser.add_argument("--extension", required=True, type=Path, help="the compiled extension")
    parser.add_argument("--launcher", required=True, type=Path, help="the compiled launcher")
    parser.add_argument("--nodejs-agent", required=True, type=Path, help="folder of the bundled Node.js agent")
    parser.add_argument("--stage", required=True, type=Path, help="folder to lay out as /opt; its content is replaced")
    parser.add_argument("--out", required=True, type=Path, help="folder of the zips")
    arguments = parser.parse_args()
    interpreters = pythons.obtain()
    built = Built(arguments.extension, arguments.launcher, arguments.nodejs_agent)
    lay_out(built, ROOT / "wrapper", ROOT / "LICENSE", arguments.stage, interpreters)
    print(f"assemble: Python files compiled for {', '.join(interpreters) or 'no version'}", file=sys.stderr)
    for archive in write_zips(arguments.stage, arguments.out, arguments.arch):
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        print(f"{archive}  {archive.stat().st_size} bytes  sha256 {digest}")


@dataclass(frozen=True)
class Built:
    """What has been built of the sources."""

    extension: Path
    launcher: Path
    nodejs_agent: Path
    """The folder of the bundled files."""


def lay_out(built: Built, wrapper: Path, license_file: Path, stage: Path, interpreters: dict[str, Path]) -> None:
    """Fills the stage folder with what /opt shall hold, and compiles the Python agent."""
    shutil.rmtree(stage, ignore_errors=True)
    agent = wrapper / "python"
    sources = {plan.EXTENSION: built.extension, plan.WRAPPER: built.launcher, plan.LICENSE: license_file}
    for source in sorted(agent.rglob("*.py")):
        sources[f"{plan.PYTHON_AGENT}/{source.relative_to(agent).as_posix()}"] = source
    for source in sorted(built.nodejs_agent.glob("*.js")):
        sources[f"{plan.NODEJS_AGENT}/{source.name}"] = source
    for path, source in sources.items():
        entry = plan.entry_for(path)
        if entry is None:
            raise SystemExit(f"assemble: {source} would become /opt/{path}, which layer-build/plan.py does not know")
        if not source.is_file():
            raise SystemExit(f"assemble: {source} is missing; it becomes /opt/{path}")
        target = stage / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(entry.mode)
    for interpreter in interpreters.values():
        compile_agent(interpreter, stage)


def compile_agent(interpreter: Path, stage: Path) -> None:
    """Adds the files that this interpreter reads instead of the sources, with the paths they have on Lambda (A-4)."""
    modules = sorted((stage / plan.PYTHON_AGENT).rglob("*.py"))
    lines = "".join(f"{module}\t/opt/{module.relative_to(stage).as_posix()}\n" for module in modules)
    environment = {"PATH": os.defpath, "PYTHONHASHSEED": "0"}
    result = subprocess.run(
        [interpreter, "-s", "-c", _COMPILE], input=lines, text=True, env=environment, capture_output=True, check=False
    )
    if result.returncode != 0:
        raise SystemExit(f"assemble: {interpreter} cannot compile the agent:\n{result.stderr}")
    for compiled in stage.rglob("*.pyc"):
        compiled.chmod(0o644)


def write_zips(stage: Path, out: Path, arch: str) -> list[Path]:
    """Writes the layer, and the one with the extension alone for functions that bring their own instrumentation."""
    layer = out / f"otel-xray-{arch}.zip"
    collector = out / f"otel-xray-collector-{arch}.zip"
    pack.pack(stage, layer)
    pack.pack(stage, collector, lambda path: (entry := plan.entry_for(path)) is not None and entry.collector)
    return [layer, collector]


if __name__ == "__main__":
    main()
