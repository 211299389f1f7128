"""Medians over the turns of two translators: a table on standard output, and a file for the README's figures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

OURS, THEIRS = "otel-xray", "awsxrayexporter"
FIGURES = ("spans_per_s", "decode_spans_per_s", "allocations_per_span", "bytes_per_span", "document_bytes")


def summary(turns: list[dict[str, object]], allocations: dict[str, object], machine: str) -> dict[str, object]:
    """One row for each translator. The ratio is that of the spans per second, turn by turn."""
    turns = [{**allocations, **turn} if turn["translator"] == OURS else turn for turn in turns]
    by_name = {name: [turn for turn in turns if turn["translator"] == name] for name in (OURS, THEIRS)}
    ours, theirs = by_name[OURS], by_name[THEIRS]
    if not ours or len(ours) != len(theirs):
        raise SystemExit(f"{len(ours)} turns of {OURS} and {len(theirs)} of {THEIRS}: run bench/translate/run again")
    rows = []
    for name, own in by_name.items():
        figures = {figure: median(float(str(turn[figure])) for turn in own) for figure in FIGURES}
        rows.append({"translator": name, "version": own[0].get("version"), **figures})
    ratios = [float(str(one["spans_per_s"])) / float(str(other["spans_per_s"])) for one, other in zip(ours, theirs)]
    return {
        "machine": machine,
        "turns": len(ours),
        "rounds": ours[0]["rounds"],
        "spans": ours[0]["spans"],
        "ratio": round(median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
        "translators": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("turns", type=Path, help="a line of JSON for each turn")
    parser.add_argument("--allocations", type=json.loads, required=True, help="what ours allocates, as JSON")
    parser.add_argument("--machine", required=True)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    turns = [json.loads(line) for line in arguments.turns.read_text().splitlines()]
    result = summary(turns, arguments.allocations, arguments.machine)
    arguments.json.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
    print(f"{result['spans']:.0f} spans, {result['turns']} turns of {result['rounds']} rounds, {result['machine']}")
    print(
        "{:<18}{:>12}{:>16}{:>20}{:>14}{:>16}".format(
            "translator", "spans/s", "decode spans/s", "allocations/span", "bytes/span", "document bytes"
        )
    )
    for row in result["translators"]:
        print(
            f"{row['translator']:<18}{row['spans_per_s']:>12.0f}{row['decode_spans_per_s']:>16.0f}"
            f"{row['allocations_per_span']:>20.1f}{row['bytes_per_span']:>14.0f}{row['document_bytes']:>16.0f}"
        )
    print(f"ratio of spans/s {result['ratio']} ({result['ratio_min']} to {result['ratio_max']})")


if __name__ == "__main__":
    main()
