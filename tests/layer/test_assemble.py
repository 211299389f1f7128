"""The same sources give the same bytes, and nothing unplanned gets in."""

from __future__ import annotations

import marshal
import os
import shutil
import sys
from pathlib import Path

import assemble
import pytest
from sample_layer import lay_out


def test_two_assemblies_give_the_same_bytes(sources: Path, tmp_path: Path, interpreters: dict[str, Path]) -> None:
    archives = []
    for name, mask in (("first", 0o022), ("a/much/longer/second", 0o077)):
        copy = tmp_path / name / "sources"
        shutil.copytree(sources, copy)
        for path in copy.rglob("*"):
            os.utime(path, (1, len(name)))
        old = os.umask(mask)
        try:
            stage = lay_out(copy, tmp_path / name / "stage", interpreters)
            archives.append(assemble.write_zips(stage, tmp_path / name / "dist", "x86_64"))
        finally:
            os.umask(old)
    for first, second in zip(*archives):
        assert first.read_bytes() == second.read_bytes(), first.name


@pytest.mark.parametrize("folder", ["agent_package", "agent_package/room"])
def test_compiled_files_show_the_path_on_lambda(stage: Path, folder: str) -> None:
    tag = f"cpython-3{sys.version_info.minor}"
    compiled = stage / f"python/{folder}/__pycache__/boot.{tag}.pyc"
    code = marshal.loads(compiled.read_bytes()[16:])
    assert code.co_filename == f"/opt/python/{folder}/boot.py"


def test_compiled_files_hold_no_docstrings(stage: Path) -> None:
    tag = f"cpython-3{sys.version_info.minor}"
    assert b"A room." in (stage / "python/agent_package/room/boot.py").read_bytes()
    assert b"A room." not in (stage / f"python/agent_package/room/__pycache__/boot.{tag}.pyc").read_bytes()


def test_unplanned_source_is_refused(sources: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sources"
    shutil.copytree(sources, copy)
    (copy / "wrapper/python/agent_package/Not-Planned.py").write_text("")
    with pytest.raises(SystemExit, match=r"which layer-build/plan\.py does not know"):
        lay_out(copy, tmp_path / "stage", {})


def test_missing_wrapper_is_named(sources: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sources"
    shutil.copytree(sources, copy)
    (copy / "launcher").unlink()
    with pytest.raises(SystemExit, match=r"launcher is missing"):
        lay_out(copy, tmp_path / "stage", {})


def test_source_that_does_not_compile_is_named(sources: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sources"
    shutil.copytree(sources, copy)
    (copy / "wrapper/python/agent_package/boot.py").write_text("def boot(:\n")
    with pytest.raises(SystemExit, match="cannot compile the agent"):
        lay_out(copy, tmp_path / "stage", {"running": Path(sys.executable)})
