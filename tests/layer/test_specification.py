"""Every test and file that SPECIFICATION.md and ARCHITECTURE.md name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["SPECIFICATION.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"]
_QUOTED = re.compile(r"`([^`\s]+)`")


def named(page: str) -> list[tuple[str, str]]:
    """Files with the test in them that a page names, and files by themselves with none."""
    found, file = [], ""
    for quoted in _QUOTED.findall((ROOT / page).read_text()):
        path, _, test = quoted.partition("::")
        file = path or file
        is_path = "/" in file and not file.startswith(("/", "http", "target/")) and "*" not in file and "…" not in file
        if is_path and (test or not path.startswith("::")) and re.fullmatch(r"[\w./-]+", file):
            found.append((file, test))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    names = named(page)
    assert names
    for file, test in names:
        path = ROOT / file
        assert path.exists(), f"{page} names {file}"
        if test:
            assert re.search(rf"\b(fn|def) {re.escape(test)}\b", path.read_text()), f"{page} names {file}::{test}"
