"""Every check of the layer zip can fail (T-17): one doctored zip for each, and a good one that passes."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import assemble
import check
import elf
import pack
import plan
import pytest
import pythons
from sample_layer import elf_file

GLIBC = "/lib64/ld-linux-x86-64.so.2"
CACHE = "python/agent_package/__pycache__"


def findings(
    stage: Path, interpreters: dict[str, Path], name: str = "layer-x86_64.zip", static: bool = False
) -> list[str]:
    archive = stage.parent / name
    wanted = (lambda path: (plan.entry_for(path) or plan.ENTRIES[-1]).collector) if "collector" in name else None
    pack.pack(stage, archive, wanted) if wanted else pack.pack(stage, archive)
    return list(check.check(archive, interpreters, static=static))


@pytest.mark.parametrize("name", ["layer-x86_64.zip", "layer-collector-x86_64.zip"])
def test_good_zip_has_no_finding(stage: Path, interpreters: dict[str, Path], name: str) -> None:
    assert findings(stage, interpreters, name, static=True) == []


def spoil_extension_mode(stage: Path) -> None:
    (stage / plan.EXTENSION).chmod(0o644)


def spoil_wrapper_mode(stage: Path) -> None:
    (stage / plan.WRAPPER).chmod(0o744)


def spoil_module_mode(stage: Path) -> None:
    (stage / "python/agent_package/boot.py").chmod(0o755)


def spoil_extra_extension(stage: Path) -> None:
    (stage / "extensions/notes.txt").write_text("Lambda would start this")


def spoil_extra_top_level(stage: Path) -> None:
    (stage / "disable-extensions-jwigqn8j").write_text("")


def spoil_extra_collector_file(stage: Path) -> None:
    (stage / "python/agent_package/data.json").write_text("{}")


def spoil_no_extension(stage: Path) -> None:
    (stage / plan.EXTENSION).unlink()


def spoil_no_wrapper(stage: Path) -> None:
    (stage / plan.WRAPPER).unlink()


def spoil_no_agent(stage: Path) -> None:
    shutil.rmtree(stage / "python")


def spoil_machine(stage: Path) -> None:
    replace_extension(stage, elf_file(machine=183))


def spoil_not_elf(stage: Path) -> None:
    replace_extension(stage, b"#!/bin/sh\n")


def spoil_cut_elf(stage: Path) -> None:
    replace_extension(stage, elf_file()[:100])


def spoil_static_pie(stage: Path) -> None:
    replace_extension(stage, elf_file(pie=True))


def spoil_new_glibc(stage: Path) -> None:
    replace_extension(stage, elf_file(interpreter=GLIBC, glibc="GLIBC_2.30"))


def spoil_musl_interpreter(stage: Path) -> None:
    replace_extension(stage, elf_file(interpreter="/lib/ld-musl-x86_64.so.1", pie=True))


def spoil_size(stage: Path) -> None:
    replace_extension(stage, elf_file(padding=plan.EXTENSION_BUDGET_BYTES))


def spoil_compiled_missing(stage: Path) -> None:
    tag = f"cpython-3{sys.version_info.minor}"
    (stage / CACHE / f"boot.{tag}.pyc").unlink()


def spoil_compiled_missing_in_a_room(stage: Path) -> None:
    tag = f"cpython-3{sys.version_info.minor}"
    (stage / f"python/agent_package/room/__pycache__/boot.{tag}.pyc").unlink()


def spoil_compiled_stale(stage: Path) -> None:
    (stage / "python/agent_package/boot.py").write_text("def boot(value):\n    return None\n")


def spoil_compiled_left_over(stage: Path) -> None:
    (stage / "python/agent_package/boot.py").unlink()


def spoil_compiled_checked(stage: Path) -> None:
    for compiled in (stage / CACHE).glob("boot.*.pyc"):
        data = bytearray(compiled.read_bytes())
        data[4] = 3
        compiled.write_bytes(data)


def spoil_compiled_version(stage: Path) -> None:
    for compiled in (stage / CACHE).glob("boot.*.pyc"):
        compiled.write_bytes(b"\0\0\r\n" + compiled.read_bytes()[4:])


def replace_extension(stage: Path, data: bytes) -> None:
    path = stage / plan.EXTENSION
    path.write_bytes(data)
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (spoil_extension_mode, "extensions/otel-xray: mode is 100644, planned 100755"),
        (spoil_wrapper_mode, "otel-instrument: mode is 100744, planned 100755"),
        (spoil_module_mode, "boot.py: mode is 100755, planned 100644"),
        (spoil_extra_extension, "extensions/notes.txt: is not in the plan"),
        (spoil_extra_top_level, "disable-extensions-jwigqn8j: is not in the plan"),
        (spoil_extra_collector_file, "data.json: is not in the plan"),
        (spoil_no_extension, "is missing"),
        (spoil_no_wrapper, "is missing"),
        (spoil_no_agent, "is missing"),
        (spoil_machine, "ELF machine 183; x86_64 is 62"),
        (spoil_not_elf, "not a 64-bit little-endian ELF file"),
        (spoil_cut_elf, "cut short"),
        (spoil_static_pie, "position-independent without a program interpreter"),
        (spoil_new_glibc, "needs glibc 2.30, more than 2.17"),
        (spoil_musl_interpreter, "is not bound to glibc"),
        (spoil_size, f"the budget is {plan.EXTENSION_BUDGET_BYTES}"),
        (spoil_compiled_missing, "agent_package/boot.py: no compiled file for this version"),
        (spoil_compiled_missing_in_a_room, "agent_package/room/boot.py: no compiled file for this version"),
        (spoil_compiled_stale, "is not compiled from the source beside it"),
        (spoil_compiled_left_over, "has no source beside it"),
        (spoil_compiled_checked, "is not an unchecked-hash file"),
        (spoil_compiled_version, "compiled by another version"),
    ],
)
def test_spoiled_layer_is_found(
    stage: Path, interpreters: dict[str, Path], spoil: Callable[[Path], None], expected: str
) -> None:
    spoil(stage)
    assert any(expected in finding for finding in findings(stage, interpreters)), expected


def test_glibc_2_17_passes_unless_static_is_asked_for(stage: Path, interpreters: dict[str, Path]) -> None:
    replace_extension(stage, elf_file(interpreter=GLIBC, glibc="GLIBC_2.17"))
    assert findings(stage, interpreters) == []
    assert any("is not static" in finding for finding in findings(stage, interpreters, static=True))


def test_collector_zip_holds_no_agent_and_keeps_its_budget(stage: Path, interpreters: dict[str, Path]) -> None:
    archive = stage.parent / "otel-xray-collector-x86_64.zip"
    pack.pack(stage, archive)
    assert any("boot.py: is not in the plan" in finding for finding in check.check(archive, interpreters))
    noise = elf_file() + os.urandom(plan.COLLECTOR_ZIP_BUDGET_BYTES)
    replace_extension(stage, noise)
    found = findings(stage, interpreters, "otel-xray-collector-x86_64.zip")
    assert any(f"the budget is {plan.COLLECTOR_ZIP_BUDGET_BYTES}" in finding for finding in found)


def rewrite(archive: Path, change: Callable[[zipfile.ZipInfo], zipfile.ZipInfo]) -> Path:
    target = archive.with_name("rewritten-x86_64.zip")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(change(info), data)
    return target


def renamed(old: str, new: str) -> Callable[[zipfile.ZipInfo], zipfile.ZipInfo]:
    def change(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
        if info.filename == old:
            info.filename = new
        return info

    return change


def without_unix_modes(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    info.create_system = 0
    return info


def with_a_time(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    info.date_time = (2026, 1, 2, 3, 4, 6)
    return info


def as_symlink(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    if info.filename == plan.WRAPPER:
        info.external_attr = (stat.S_IFLNK | 0o755) << 16
    return info


def stored(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    info.compress_type = zipfile.ZIP_STORED
    return info


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (renamed(plan.WRAPPER, "../otel-instrument"), "../otel-instrument: is not in the plan"),
        (renamed(plan.WRAPPER, "/opt/otel-instrument"), "/opt/otel-instrument: is not in the plan"),
        (renamed("extensions/", "bin/"), "bin/: is not in the plan"),
        (without_unix_modes, "carries no Unix mode"),
        (with_a_time, "carries a time"),
        (as_symlink, "otel-instrument: mode is 120755"),
        (stored, "packing its content again gives other bytes"),
    ],
)
def test_spoiled_zip_is_found(
    stage: Path,
    interpreters: dict[str, Path],
    change: Callable[[zipfile.ZipInfo], zipfile.ZipInfo],
    expected: str,
) -> None:
    archive = stage.parent / "layer-x86_64.zip"
    pack.pack(stage, archive)
    found = list(check.check(rewrite(archive, change), interpreters))
    assert any(expected in finding for finding in found), found


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_path_that_is_there_twice_is_found(stage: Path, interpreters: dict[str, Path]) -> None:
    archive = stage.parent / "layer-x86_64.zip"
    pack.pack(stage, archive)
    with zipfile.ZipFile(archive, "a") as target:
        target.writestr(plan.WRAPPER, b"exit 1")
    assert any("otel-instrument: is there twice" in finding for finding in check.check(archive, interpreters))


def test_unreadable_and_unnamed_zips_are_found(tmp_path: Path, interpreters: dict[str, Path]) -> None:
    broken = tmp_path / "layer-x86_64.zip"
    broken.write_bytes(b"PK")
    assert any("cannot be read" in finding for finding in check.check(broken, interpreters))
    assert any("architecture is unknown" in finding for finding in check.check(tmp_path / "layer.zip", interpreters))


def test_elf_reader_agrees_with_a_real_program() -> None:
    file = elf.read(Path(sys.executable).resolve().read_bytes())
    assert file.machine in plan.MACHINES.values()
    assert file.interpreter is not None and file.interpreter.startswith("/lib")
    assert file.glibc is not None and file.glibc >= (2, 2, 5)


def test_write_zips_names_and_contents(stage: Path) -> None:
    layer, collector = assemble.write_zips(stage, stage.parent / "dist", "arm64")
    assert (layer.name, collector.name) == ("otel-xray-arm64.zip", "otel-xray-collector-arm64.zip")
    files = [name for name in zipfile.ZipFile(collector).namelist() if not name.endswith("/")]
    assert files == ["extensions/otel-xray", "otel-instrument", "otel-xray/LICENSE"]


def test_a_layer_without_byte_code_for_a_version_is_no_release(
    stage: Path, interpreters: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = stage.parent / "layer-x86_64.zip"
    monkeypatch.setattr(pythons, "find", lambda: interpreters)

    def said(*options: str) -> tuple[int, str]:
        pack.pack(stage, archive)
        monkeypatch.setattr(sys, "argv", ["check.py", *options, str(archive)])
        code = check.main()
        out, err = capsys.readouterr()
        return code, (out + err).splitlines()[-1]

    # Only whether there is a file is seen for a version that is not on this machine.
    for module in (stage / "python").rglob("*.py"):
        for version in set(pythons.VERSIONS) - set(interpreters):
            name = f"{module.stem}.cpython-{version.replace('.', '')}.pyc"
            (module.parent / "__pycache__" / name).write_bytes(b"")
    assert said("--release") == (0, f"{archive.name}: ok, {archive.stat().st_size} bytes")
    interpreters = {version: path for version, path in interpreters.items() if version not in ("3.9", "3.14")}
    for version in ("39", "314"):
        (stage / CACHE / f"boot.cpython-{version}.pyc").unlink()
    code, last = said()
    assert (code, last.split(", whose")[0]) == (
        0,
        f"{archive.name}: NOT A RELEASE: without byte code for Python 3.9, 3.14",
    )
    assert said("--release") == (1, last)
    assert check.versions_without_compiled(archive) == ["3.9", "3.14"]
