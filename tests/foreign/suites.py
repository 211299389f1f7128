"""Other projects' test suites inside of a function: under the agent they fail in nothing that is not listed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import stage

LISTED = Path(__file__).parent / "differences.tsv"
BOUND_S = 900
"""Only what hangs reaches it."""


def outcomes(
    folder: Path, source: str, event: str, *, layer: bool, variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What the function answers: the outcome of each test by its name."""
    with stage.function(folder, source, layer=layer, variables=variables) as function:
        function.invoke(event, header=None, answered=False)
        seen: dict[str, str] = function.answer(BOUND_S).json
        if layer:
            function.frames.wait_for(5, 1)
        return seen


def different(without: dict[str, str], with_layer: dict[str, str]) -> set[str]:
    assert with_layer.keys() == without.keys()
    return {test for test, outcome in without.items() if with_layer[test] != outcome}


def listed(suite: str) -> set[str]:
    with LISTED.open(newline="") as table:
        return {row["test"] for row in csv.DictReader(table, delimiter="\t") if row["suite"] == suite}
