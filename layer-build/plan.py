"""The plan of the layer: which paths may be below /opt, with which modes, and how large they may be."""

from __future__ import annotations

import re
from dataclasses import dataclass

EXTENSION = "extensions/otel-xray"
WRAPPER = "otel-instrument"
LICENSE = "otel-xray/LICENSE"
PYTHON_AGENT = "python"
"""Folder of the Python agent. The managed runtime searches /opt/python by itself (L-2.3)."""

NODEJS_AGENT = "otel-xray/nodejs"
"""Folder of the Node.js agent. Not below /opt/nodejs, where the runtime searches the packages of functions."""

PYTHON_MINORS = range(9, 16)
"""Minor versions of Python 3 that the agent supports and that get compiled files (A-4)."""

EXTENSION_BUDGET_BYTES = 4_900_000
EXECUTABLES = {EXTENSION: EXTENSION_BUDGET_BYTES, WRAPPER: 40_000}
"""With their budgets in bytes. With the standard library in it, the launcher would be ten times as large."""

COLLECTOR_ZIP_BUDGET_BYTES = 2_400_000
GLIBC_MAX = (2, 17)
"""Amazon Linux 2 has 2.26; 2.17 is the oldest that the linker targets (B-2)."""

MACHINES = {"x86_64": 62, "arm64": 183}
"""ELF e_machine by the architecture's name on Lambda."""

DIRECTORY_MODE = 0o755
_MODULE = r"[a-z_][a-z0-9_]*"


@dataclass(frozen=True)
class Entry:
    """A family of planned files: the paths, their one permitted mode, and whether a zip without them is broken."""

    pattern: str
    mode: int
    required: bool
    collector: bool
    """Whether it is in the collector-only zip too."""


ENTRIES = (
    Entry(re.escape(EXTENSION), 0o755, required=True, collector=True),
    # In both zips: where the variable names it and it is missing, every invocation of the function fails (L-11.2).
    Entry(re.escape(WRAPPER), 0o755, required=True, collector=True),
    Entry(re.escape(LICENSE), 0o644, required=True, collector=True),
    Entry(rf"{PYTHON_AGENT}/(?:{_MODULE}/)*{_MODULE}\.py", 0o644, required=True, collector=False),
    Entry(rf"{NODEJS_AGENT}/{_MODULE}\.js", 0o644, required=True, collector=False),
    Entry(
        rf"{PYTHON_AGENT}/(?:{_MODULE}/)*__pycache__/{_MODULE}\.cpython-3\d+\.pyc",
        0o644,
        required=False,
        collector=False,
    ),
)


def entry_for(path: str) -> Entry | None:
    """The planned family that a path below /opt belongs to."""
    return next((entry for entry in ENTRIES if re.fullmatch(entry.pattern, path)), None)


def planned_directory(path: str) -> bool:
    """Whether a folder (with its closing slash) can hold a planned file."""
    fixed = {"extensions/", "otel-xray/", f"{PYTHON_AGENT}/", f"{NODEJS_AGENT}/"}
    return path in fixed or re.fullmatch(rf"{PYTHON_AGENT}/(?:{_MODULE}/)+", path) is not None
