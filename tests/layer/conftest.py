"""A small layer of known good content, and copies of it with one thing wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import pythons
from sample_layer import elf_file, lay_out


@pytest.fixture(scope="session")
def interpreters() -> dict[str, Path]:
    """At least the version that runs the tests, so that no check passes for want of an interpreter."""
    found = pythons.find()
    running = f"3.{sys.version_info.minor}"
    found.setdefault(running, Path(sys.executable))
    return found


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    agent = folder / "wrapper" / "python" / "agent_package"
    agent.mkdir(parents=True)
    (agent / "__init__.py").write_text('NAMES = {"a", "b", "c", "d"}\n')
    (agent / "boot.py").write_text("def boot(value):\n    return value in {'x', 'y', 'z', 1, 2}\n")
    (agent / "room").mkdir()
    (agent / "room" / "__init__.py").write_text("")
    # Two files of one name, in two folders.
    (agent / "room" / "boot.py").write_text('"""A room."""\n')
    (folder / "nodejs").mkdir()
    (folder / "nodejs" / "main.js").write_text("exports.main = 1;\n")
    (folder / "LICENSE").write_text("free\n")
    (folder / "extension").write_bytes(elf_file())
    (folder / "launcher").write_bytes(elf_file())
    return folder


@pytest.fixture
def stage(sources: Path, tmp_path: Path, interpreters: dict[str, Path]) -> Path:
    """The layer laid out as /opt, to be spoiled by the test."""
    return lay_out(sources, tmp_path / "stage", interpreters)
