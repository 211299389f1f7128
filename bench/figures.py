"""Writes the figures of the last benchmark run into the README, or checks that they are there (--check)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->"
DIGITS = {"CPU ms of invocations 2 to 501": 2, "warm CPU ms": 2, "RSS MB": 1}
OURS, OTHERS = "otel-xray", ["upstream layer", "ADOT fast start", "ADOT default"]
# For each language the result files, and what their measures are called: cold CPU added to none, and the rest.
BESIDE = {
    "Node.js": (
        ["nodejs-20.json", "nodejs-24.json"],
        ("node", "cold_min_ms", "added_cold_min_ms"),
        {
            "CPU ms of invocations 2 to 501": "added_early_ms",
            "warm CPU ms": "added_warm_ms",
            "RSS MB": "added_rss_mb",
            "kB read": "added_read_kb",
        },
    ),
    "Python": (
        ["python-adot.json"],
        ("python", "cold_cpu_ms_min", "added_cold_cpu_ms_min"),
        {
            "warm CPU ms": "added_warm_cpu_ms_median",
            "init wall ms": "added_init_wall_ms_median",
            "RSS MB": "added_rss_mb_median",
            "kB read": "added_read_kb_median",
            "modules": "added_modules_median",
        },
    ),
}


def read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())


def lines_of(header: list[str], rows: Iterable[Iterable[str]]) -> list[str]:
    first, *others = (f"| {' | '.join(row)} |" for row in (header, *rows))
    return [first, "|" + "---|" * len(header), *others]


def extension() -> list[str]:
    machine, rows, otlp = read("machine.json"), read("extension.json"), read("otlp.json")
    keys = ("binary_mb", "next_ms", "cpu_ms", "rss_idle_mb", "rss_flushed_mb", "tail_ms", "nothing_ms")
    header = [
        "extension",
        "binary MB",
        "spawn to first `next` ms",
        "its CPU ms",
        "RSS idle MB",
        "RSS after flushes MB",
        "tail after the response, 10 spans, ms",
        "event to `next`, nothing to send, ms",
    ]
    shown = [[row["name"], *("" if row.get(key) is None else f"{row[key]:.2f}" for key in keys)] for row in rows]
    return [
        f"Medians of {rows[0]['runs']} interleaved runs on {machine['machine']}, {machine['python']}; nothing "
        f"here ran on AWS. The layer's zip has {machine['zip_bytes'] / 1e6:.2f} MB.",
        "",
        *lines_of(header, shown),
        "",
        "`bare-hyper` only registers and asks for events; `static` is linked as the layer's extension is.",
        "",
        failing(),
        "",
        f"An OpenTelemetry SDK's spans over OTLP/HTTP, {otlp['spans_of_a_request']} in a request, on "
        f"{otlp['connections']} connections: {otlp['spans_per_s']:,.0f} spans a second are taken in, at "
        f"{otlp['peak_rss_mb']:.0f} MB at most. {otlp['sent_per_s']:,.0f} of them reach X-Ray meanwhile; the others "
        "find the buffer full, and are counted.",
    ]


def failing() -> str:
    result = read("failing.json")
    tails = ", ".join(f"{name} {case['tail_ms']:.2f}" for name, case in result["cases"].items())
    return (
        f"Tail after the response while a far end fails, ms, from the third of {result['invocations']} invocations on: "
        f"{tails}."
    )


def python_agent() -> list[str]:
    header = [
        "Python function",
        "CPU ms of init without",
        "with the layer",
        "of a warm invocation without",
        "with the layer",
    ]
    return lines_of(
        header,
        (
            [
                row["function"],
                f"{row['base_init_cpu_ms']:.1f}",
                f"{row['extra_init_cpu_ms']:+.1f}",
                f"{row['base_warm_cpu_ms']:.2f}",
                f"{row['extra_warm_cpu_ms']:+.2f}",
            ]
            for row in read("python.json")
        ),
    )


def translators() -> list[str]:
    translate = read("translate.json")
    header = [
        "translator",
        "spans a second",
        "allocations of a span",
        "bytes allocated for a span",
        "bytes of its document",
    ]
    rows = (
        [
            " ".join(filter(None, (row["translator"], row["version"]))),
            f"{row['spans_per_s']:,.0f}",
            f"{row['allocations_per_span']:.1f}",
            f"{row['bytes_per_span']:,.0f}",
            f"{row['document_bytes']:,.0f}",
        ]
        for row in translate["translators"]
    )
    return [
        f"Translating {translate['spans']:.0f} spans to documents on one core, {translate['turns']} turns each "
        f"({translate['machine']}): {translate['ratio']:.1f} times the OpenTelemetry Collector's X-Ray exporter.",
        "",
        *lines_of(header, rows),
    ]


def times_less(forms: dict[str, dict[str, dict[str, float]]], added: str) -> list[float]:
    """How many times what ours adds ADOT's fast start adds, of each form to which ours adds anything at all."""
    return [rows["ADOT fast start"][added] / rows[OURS][added] for rows in forms.values() if rows[OURS][added] > 0]


def span_of(values: list[float], digits: int) -> str:
    least, most = (f"{value:+.{digits}f}" for value in (min(values), max(values)))
    return least if least == most else f"{least} to {most}"


def beside(language: str) -> list[str]:
    """What a layer adds to a function, ours beside the others."""
    files, (runtime, bare, added), more = BESIDE[language]
    results = [read(name) for name in files]
    cold, ratios = [], []
    for result in results:
        for form, rows in result["forms"].items():
            others = (f"{rows[one][added]:+.0f}" for one in OTHERS)
            cold.append(
                [f"{result[runtime]}, {form}", f"{rows['none'][bare]:.0f}", f"{rows[OURS][added]:+.1f}", *others]
            )
        ratios += times_less(result["forms"], added)
    rows = [rows for result in results for rows in result["forms"].values()]
    rest = [
        [
            one,
            *(span_of([row[one][key] for row in rows], DIGITS.get(name, 0)) for name, key in more.items()),
        ]
        for one in (OURS, *OTHERS)
    ]
    versions, runs = results[0]["versions"], results[0]["runs"]
    if any((result["versions"], result["runs"]) != (versions, runs) for result in results):
        sys.exit(f"{' and '.join(files)} are of different versions or numbers of runs: measure them together")
    upstream = ", ".join(f"`{name}` {version}" for name, version in versions["upstream"].items())
    margin = "otel-xray adds nothing measurable to a cold start."
    if ratios:
        margin = (
            f"ADOT's fast start adds at least {int(min(ratios))} times the CPU that otel-xray adds to a cold start, "
            f"in the {len(ratios)} of {len(cold)} rows where that is more than nothing."
        )
    if "warm_from" in results[0]:
        margin += (
            f" Warm is from invocation {results[0]['warm_from']:,} on, when V8 has compiled what it will, in "
            f"{results[0]['warm_runs']} of the runs."
        )
    return [
        f"{language}: {results[0]['machine']}, n = {runs}; otel-xray {versions['otel-xray']}, ADOT {versions['adot']}, "
        f"upstream layer with {upstream}. {margin}",
        "",
        *lines_of([f"{language} function", "cold CPU ms without", "otel-xray", *OTHERS], cold),
        "",
        *lines_of(["added to any of them", *more], rest),
    ]


def table() -> str:
    what = (
        "Beside ADOT's layer and OpenTelemetry's own (upstream), put together from their packages as their builds do: "
        "CPU from the start of the wrapper to the end of the first invocation under the real runtime client, the least "
        "of interleaved runs, and what each layer adds to that. The rest are medians. `empty` returns at once, "
        "`requests` makes an HTTP call, the others call S3, all on this machine. Every layer was first seen to record "
        "the handler and the call."
    )
    parts = [extension(), python_agent(), [what], beside("Python"), beside("Node.js"), translators()]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def main() -> int:
    readme = ROOT / "README.md"
    text = readme.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    if "--check" in sys.argv:
        if text[begin:end] != table():
            print("README.md does not show the figures of bench/results: run bench/figures.py", file=sys.stderr)
            return 1
        return 0
    readme.write_text(text[:begin] + table() + text[end:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
