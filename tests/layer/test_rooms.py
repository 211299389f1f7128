"""`tests/rooms.py`: an arrow that runs up is found, however it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import rooms

ORDER = ["lib", "upper", "middle beside", "lower"]


@pytest.fixture
def crate(tmp_path: Path) -> Path:
    """A crate in which all arrows run down."""
    for name, text in {
        "lib.rs": "mod upper;\nuse upper::door;\n",
        "upper.rs": "use crate::middle::inner;\nuse crate::{beside, lower};\n",
        "middle/mod.rs": "mod inner;\nuse inner::Inner;\nuse super::lower;\n",
        "middle/inner.rs": "use super::super::lower;\n// crate::upper is only spoken of\n",
        "beside.rs": "#[cfg(test)]\nmod tests {\n    use crate::upper;\n}\n",
        "lower.rs": "pub fn lowest() {}\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_arrows_that_run_down_are_no_finding(crate: Path) -> None:
    assert list(rooms.findings(crate, ORDER)) == []


@pytest.mark.parametrize(
    ("file", "line", "arrow"),
    [
        ("lower.rs", "use crate::upper::door;", "lower names upper"),
        ("lower.rs", "use crate::{middle::inner, lower};", "lower names middle"),
        ("lower.rs", "fn f() { crate::upper::door() }", "lower names upper"),
        ("beside.rs", "use super::middle::Inner;", "beside names middle"),
        ("middle/inner.rs", "use super::super::upper;", "middle names upper"),
        ("middle/mod.rs", "use super::{upper, lower};", "middle names upper"),
        ("middle/inner.rs", "use super::super::{upper, lower};", "middle names upper"),
        ("middle/inner.rs", "pub use crate::beside;", "middle names beside"),
        ("middle/inner.rs", "use crate::Given;", "middle names lib"),
        ("lower.rs", "use super::{Given as Taken};", "lower names lib"),
        ("lower.rs", "use crate::*;", "lower names lib"),
    ],
)
def test_an_arrow_that_runs_up_or_aside_is_found(crate: Path, file: str, line: str, arrow: str) -> None:
    path = crate / file
    path.write_text(f"{line}\n{path.read_text()}")
    (finding,) = rooms.findings(crate, ORDER)
    assert finding.startswith(f"{path}:1: {arrow}"), finding


@pytest.mark.parametrize(
    ("file", "line", "arrow"),
    [
        ("house/low.rs", "use crate::house::high::Inner;", "low names high"),
        ("house/low.rs", "use super::{high, Given};", "low names high"),
        ("house/low.rs", "use super::Given;", "low names mod"),
        ("house/high/inner.rs", "use crate::house::Given;", "high names mod"),
    ],
)
def test_a_folder_below_a_crate_has_rooms_of_its_own(tmp_path: Path, file: str, line: str, arrow: str) -> None:
    for name, text in {
        "house/mod.rs": "mod high;\nmod low;\npub use high::Given;\n",
        "house/high/mod.rs": "use super::low::{a, b};\nuse crate::elsewhere;\n",
        "house/high/inner.rs": "use super::Given;\nuse super::super::low;\n",
        "house/low.rs": "use crate::Whole;\nuse super::super::elsewhere;\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    order = ["mod", "high", "low"]
    assert list(rooms.findings(tmp_path, order, ("house",))) == []
    path = tmp_path / file
    path.write_text(f"{line}\n{path.read_text()}")
    found = [finding for finding in rooms.findings(tmp_path, order, ("house",)) if arrow in finding]
    assert found, list(rooms.findings(tmp_path, order, ("house",)))
    assert found[0].startswith(f"{path}:1: {arrow}")


def test_a_room_without_a_place_is_found(crate: Path) -> None:
    (crate / "loft.rs").write_text("")
    (finding,) = rooms.findings(crate, ORDER)
    assert "`loft` is in no line" in finding


def test_a_hall_is_found(crate: Path) -> None:
    for number in range(rooms.MAX_FILES - 1):
        (crate / "middle" / f"part{number}.rs").write_text("")
    (finding,) = rooms.findings(crate, ORDER)
    assert finding == f"{crate / 'middle'}: 13 files; give some of them a room"


def test_the_crates_have_only_arrows_that_run_down() -> None:
    assert rooms.main() == 0
