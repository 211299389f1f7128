#!/usr/bin/env python3
"""Checks layer zips against the plan: what Lambda would refuse, and what would take a function down (L-1.5).

    layer-build/check.py [--static] [--release] dist/otel-xray-x86_64.zip ...

The architecture is taken from the name's ending; a name with "collector" stands for the zip with the extension alone.
Exits 1 and names every finding when there is one. A layer without compiled files for every supported version of Python
works, more slowly at a cold start: the last line says that it is no release, and with --release it is a finding.
"""

from __future__ import annotations

import argparse
import re
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import elf
import pack
import plan
import pythons

# Runs under each interpreter on the unpacked agent; prints one line for each file it would not take as it is.
_STALE = """
import importlib.util, pathlib, sys
agent = pathlib.Path(sys.argv[1])
for source in sorted(agent.rglob("*.py")):
    compiled = pathlib.Path(importlib.util.cache_from_source(str(source)))
    shown = compiled.relative_to(agent)
    if not compiled.is_file():
        print(f"{source.relative_to(agent)}: no compiled file for this version")
        continue
    head = compiled.read_bytes()[:16]
    if head[:4] != importlib.util.MAGIC_NUMBER:
        print(f"{shown}: compiled by another version")
    elif head[4:8] != b"\\x01\\0\\0\\0":
        print(f"{shown}: is not an unchecked-hash file")
    elif head[8:16] != importlib.util.source_hash(source.read_bytes()):
        print(f"{shown}: is not compiled from the source beside it")
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="+", type=Path)
    parser.add_argument("--static", action="store_true", help="fail on an executable that is not static")
    parser.add_argument("--release", action="store_true", help="fail on a layer that is no release")
    arguments = parser.parse_args()
    interpreters = pythons.find()
    failed = False
    not_released: dict[str, list[str]] = {}
    for archive in arguments.archives:
        findings = list(check(archive, interpreters, static=arguments.static))
        for finding in findings:
            print(f"{archive.name}: {finding}", file=sys.stderr)
        failed = failed or bool(findings)
        if not findings:
            print(f"{archive.name}: ok, {archive.stat().st_size} bytes")
            if versions := versions_without_compiled(archive):
                not_released[archive.name] = versions
    for name, versions in not_released.items():
        print(f"{name}: NOT A RELEASE: {no_release(versions)}", file=sys.stderr)
    return 1 if failed or (not_released and arguments.release) else 0


def no_release(versions: list[str]) -> str:
    return (
        f"without byte code for Python {', '.join(versions)}, whose cold starts take some 10 ms longer; "
        "install Maven or those versions, and build again"
    )


def versions_without_compiled(archive: Path) -> list[str]:
    """The supported versions of Python for which a module has no compiled file. None in a zip without the agent."""
    with zipfile.ZipFile(archive) as source:
        names = set(source.namelist())
    modules = [Path(name) for name in names if name.startswith(f"{plan.PYTHON_AGENT}/") and name.endswith(".py")]
    return [
        version
        for version in pythons.VERSIONS
        if any(_compiled_name(module, version) not in names for module in modules)
    ]


def check(archive: Path, interpreters: dict[str, Path], *, static: bool = False) -> Iterator[str]:
    """Every finding, in words. No finding: the zip is as planned."""
    match = re.search(r"-(x86_64|arm64)\.zip$", archive.name)
    if match is None:
        yield "the name does not end in -x86_64.zip or -arm64.zip, so the architecture is unknown"
        return
    collector = "collector" in archive.name
    try:
        with zipfile.ZipFile(archive) as source:
            damaged = source.testzip()
            infos = source.infolist()
            contents = {info.filename: source.read(info) for info in infos} if damaged is None else {}
    except (OSError, zipfile.BadZipFile) as error:
        yield f"cannot be read: {error}"
        return
    if damaged is not None:
        yield f"{damaged}: damaged"
        return
    yield from check_paths(infos, collector=collector)
    yield from check_modes(infos)
    for path, budget_bytes in plan.EXECUTABLES.items():
        if path in contents:
            yield from check_executable(path, contents[path], budget_bytes, match.group(1), static=static)
    size = archive.stat().st_size
    if collector and size > plan.COLLECTOR_ZIP_BUDGET_BYTES:
        yield f"{size} bytes; the budget is {plan.COLLECTOR_ZIP_BUDGET_BYTES}"
    if any(stat.S_ISLNK(info.external_attr >> 16) or not _inside(info.filename) for info in infos):
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "opt"
        unpack(infos, contents, tree)
        if not collector:
            yield from check_compiled(tree, interpreters)
        yield from check_repacked(archive, tree)


def check_paths(infos: list[zipfile.ZipInfo], *, collector: bool) -> Iterator[str]:
    """Nothing outside of the plan, nothing twice, nothing missing (T-17)."""
    names = [info.filename for info in infos]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: is there twice"
    for name in names:
        entry = plan.entry_for(name)
        planned = plan.planned_directory(name) if name.endswith("/") else entry is not None
        if not planned or (collector and entry is not None and not entry.collector):
            yield f"{name}: is not in the plan"
    for entry in plan.ENTRIES:
        wanted = entry.required and (entry.collector or not collector)
        if wanted and not any(re.fullmatch(entry.pattern, name) for name in names):
            yield f"{entry.pattern}: is missing"


def check_modes(infos: list[zipfile.ZipInfo]) -> Iterator[str]:
    """A lost mode bit on the extension ends every invocation of the function (L-1.5)."""
    for info in infos:
        entry = plan.entry_for(info.filename)
        if info.filename.endswith("/"):
            kind, mode = stat.S_IFDIR, plan.DIRECTORY_MODE
        else:
            kind, mode = stat.S_IFREG, entry.mode if entry else 0o644
        if info.create_system != pack.UNIX:
            yield f"{info.filename}: carries no Unix mode"
        elif info.external_attr >> 16 != kind | mode:
            yield f"{info.filename}: mode is {info.external_attr >> 16:o}, planned {kind | mode:o}"
        if info.date_time != pack.TIME:
            yield f"{info.filename}: carries a time, {info.date_time}"


def check_executable(path: str, data: bytes, budget_bytes: int, arch: str, *, static: bool) -> Iterator[str]:
    """Right machine, and startable there: static, or content with an old glibc."""
    if len(data) > budget_bytes:
        yield f"{path}: {len(data)} bytes; the budget is {budget_bytes}"
    try:
        file = elf.read(data)
    except elf.NotElf as error:
        yield f"{path}: {error}"
        return
    if file.machine != plan.MACHINES[arch]:
        yield f"{path}: ELF machine {file.machine}; {arch} is {plan.MACHINES[arch]}"
    if file.interpreter is None:
        if file.dynamic:
            yield f"{path}: is position-independent without a program interpreter"
    elif static:
        yield f"{path}: has the program interpreter {file.interpreter}, so is not static"
    elif file.glibc is None:
        yield f"{path}: has the program interpreter {file.interpreter} but is not bound to glibc"
    elif file.glibc > plan.GLIBC_MAX:
        yield f"{path}: needs glibc {_dotted(file.glibc)}, more than {_dotted(plan.GLIBC_MAX)}"


def check_compiled(tree: Path, interpreters: dict[str, Path]) -> Iterator[str]:
    """Every module has a current compiled file for every version found here, and no compiled file is left over."""
    agent = tree / plan.PYTHON_AGENT
    for version, interpreter in interpreters.items():
        command = [interpreter, "-I", "-c", _STALE, agent]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            yield f"Python {version} could not look at the compiled files: {result.stderr.strip()}"
        for line in result.stdout.splitlines():
            yield f"Python {version}: {line}"
    for compiled in sorted(agent.rglob("*.pyc")):
        source = compiled.parent.parent / f"{compiled.name.split('.')[0]}.py"
        if not source.is_file():
            yield f"{compiled.relative_to(tree)}: has no source beside it"


def check_repacked(archive: Path, tree: Path) -> Iterator[str]:
    """The same input gives the same bytes."""
    again = tree.parent / archive.name
    pack.pack(tree, again)
    if again.read_bytes() != archive.read_bytes():
        yield "packing its content again gives other bytes"


def unpack(infos: list[zipfile.ZipInfo], contents: dict[str, bytes], tree: Path) -> None:
    """Unpacks with modes, which zipfile's own extraction drops."""
    for info in infos:
        target = tree / info.filename
        if info.filename.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(contents[info.filename])
        target.chmod(info.external_attr >> 16 & 0o777)


def _compiled_name(module: Path, version: str) -> str:
    return str(module.parent / "__pycache__" / f"{module.stem}.cpython-{version.replace('.', '')}.pyc")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def _inside(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/") and "\\" not in name


if __name__ == "__main__":
    sys.exit(main())
