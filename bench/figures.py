"""Writes the figures of the last benchmark run into the README, or checks that they are there (--check)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->"


def table() -> str:
    results = ROOT / "bench" / "results"
    machine = json.loads((results / "machine.json").read_text())
    extension = json.loads((results / "extension.json").read_text())
    python = json.loads((results / "python.json").read_text())
    translate = json.loads((results / "translate.json").read_text())
    otlp = json.loads((results / "otlp.json").read_text())
    lines = [
        f"Medians of {extension[0]['runs']} interleaved runs on {machine['machine']}, {machine['python']}; nothing "
        f"here ran on AWS. The layer's zip has {machine['zip_bytes'] / 1e6:.2f} MB.",
        "",
        "| extension | binary MB | spawn to first `next` ms | its CPU ms | RSS idle MB | RSS after flushes MB "
        "| tail after the response, 10 spans, ms | event to `next`, nothing to send, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in extension:
        keys = ("rss_flushed_mb", "tail_ms", "nothing_ms")
        flushed, tail, nothing = (f"{row[key]:.2f}" if row.get(key) is not None else "" for key in keys)
        lines.append(
            f"| {row['name']} | {row['binary_mb']:.2f} | {row['next_ms']:.2f} | {row['cpu_ms']:.2f} "
            f"| {row['rss_idle_mb']:.2f} | {flushed} | {tail} | {nothing} |"
        )
    lines += [
        "",
        "`bare-hyper` only registers and asks for events; `static` is linked as the layer's extension is.",
        "",
        f"An OpenTelemetry SDK's spans over OTLP/HTTP, {otlp['spans_of_a_request']} in a request, on "
        f"{otlp['connections']} connections: {otlp['spans_per_s']:,.0f} spans a second are taken in, at "
        f"{otlp['peak_rss_mb']:.0f} MB at most. {otlp['sent_per_s']:,.0f} of them reach X-Ray meanwhile; the others "
        "find the buffer full, and are counted.",
        "",
        "| Python function | CPU ms of init without | with the layer | of a warm invocation without | with the layer |",
        "|---|---|---|---|---|",
    ]
    for row in python:
        lines.append(
            f"| {row['function']} | {row['base_init_cpu_ms']:.1f} | {row['extra_init_cpu_ms']:+.1f} "
            f"| {row['base_warm_cpu_ms']:.2f} | {row['extra_warm_cpu_ms']:+.2f} |"
        )
    lines += [
        "",
        f"Translating {translate['spans']:.0f} spans to documents on one core, {translate['turns']} turns each "
        f"({translate['machine']}): {translate['ratio']:.1f} times the OpenTelemetry Collector's X-Ray exporter.",
        "",
        "| translator | spans a second | allocations of a span | bytes allocated for a span | bytes of its document |",
        "|---|---|---|---|---|",
    ]
    for row in translate["translators"]:
        name = " ".join(filter(None, (row["translator"], row["version"])))
        lines.append(
            f"| {name} | {row['spans_per_s']:,.0f} | {row['allocations_per_span']:.1f} "
            f"| {row['bytes_per_span']:,.0f} | {row['document_bytes']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


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
