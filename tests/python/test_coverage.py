"""The table of what the Python agent records, in its README, is that of coverage.tsv.

``OTEL_XRAY_WRITE_README=1`` writes it anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HEADER = ["library", "versions tried", "what is recorded", "what ADOT's layer records as shipped"]
TABLE = Path(__file__).with_name("coverage.tsv")
README = Path(__file__).parents[2] / "wrapper" / "python" / "README.md"
BEGIN = "<!-- coverage: generated from tests/python/coverage.tsv -->\n"
END = "<!-- /coverage -->"


def rows(text: str) -> list[list[str]]:
    """A line a library, by its name, and nothing that a table of Markdown's would not show."""
    header, *lines = [line.split("\t") for line in text.splitlines()]
    if header != HEADER:
        raise ValueError(f"the first line is {header}: make it {HEADER}")
    for line in lines:
        if len(line) != len(HEADER) or not all(cell and cell == cell.strip() for cell in line):
            raise ValueError(f"{line}: make it {len(HEADER)} cells, parted by one tab each, none of them empty")
        if any("|" in cell for cell in line):
            raise ValueError(f"{line}: a cell with | is two cells in the README")
    names = [line[0].casefold() for line in lines]
    for before, name in zip(names, names[1:]):
        if before >= name:
            raise ValueError(f"{name} comes behind {before}: put each library once, in the order of the alphabet")
    return lines


def markdown(text: str) -> str:
    lines = [HEADER, ["---"] * len(HEADER), *rows(text)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def test_the_readme_shows_what_the_table_says() -> None:
    readme = README.read_text()
    before, begin, rest = readme.partition(BEGIN)
    shown, end, after = rest.partition(END)
    assert begin, f"{README.name} has no line {BEGIN!r}"
    assert end, f"{README.name} has no line {END!r}"
    table = markdown(TABLE.read_text())
    if os.environ.get("OTEL_XRAY_WRITE_README"):
        README.write_text(before + begin + table + end + after)
    else:
        assert shown == table, f"run OTEL_XRAY_WRITE_README=1 pytest {Path(__file__).name}"


ROW = "b\t1\tcalls\tnothing\n"
WRONG = {
    "another header": "library\tversions\n" + ROW,
    "a cell too few": "\t".join(HEADER) + "\nb\t1\tcalls\n",
    "an empty cell": "\t".join(HEADER) + "\nb\t\tcalls\tnothing\n",
    "a bar": "\t".join(HEADER) + "\nb\t1\tcalls|\tnothing\n",
    "twice": "\t".join(HEADER) + "\n" + ROW + ROW,
    "out of order": "\t".join(HEADER) + "\n" + ROW + ROW.replace("b", "A"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_table_that_cannot_be_shown_is_refused(case: str) -> None:
    with pytest.raises(ValueError, match=r": (make|put)|two cells"):
        rows(WRONG[case])
