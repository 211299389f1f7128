#!/bin/sh
# Compiles the fuzz targets, replays the corpus, then fuzzes each target for that many seconds, two at a time.
#
#   tests/fuzz/run.sh SECONDS [TARGET...]
#
# A finding fails the run; its input is written to target/fuzz/findings/, and
# `target/fuzz/TRIPLE/debug/TARGET FILE` repeats it. What widens the coverage is kept in target/fuzz/corpus/.
# OTEL_XRAY_FUZZ_SEED makes two runs alike; 0, the default, draws one.
set -eu

seconds=${1:?"usage: tests/fuzz/run.sh SECONDS [TARGET...]"}
shift
[ $# -gt 0 ] || set -- otlp_decode otlp_json http2 frames stacks trace_header translate datagrams
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root/tests/fuzz"
out=${CARGO_TARGET_DIR:-$root/target}/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')

# Not --locked: a dependency that the extension gains or loses is entered in tests/fuzz/Cargo.lock by this.
# The flags are what cargo-fuzz passes with `--sanitizer none`: all of it is stable. A triple keeps it away from build scripts.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
 -Cllvm-args=-sanitizer-coverage-trace-compares" CARGO_TARGET_DIR=$out \
    cargo build --quiet --bins --target "$triple"

# fuzz TARGET: its last line, or all it said if it found something.
fuzz() {
    mkdir -p "$out/corpus/$1" "$out/findings"
    log=$out/$1.log
    if ! "$out/$triple/debug/$1" -runs=0 -timeout=10 -artifact_prefix="$out/findings/$1-" "corpus/$1" >"$log" 2>&1 ||
        ! "$out/$triple/debug/$1" -max_total_time="$seconds" -seed="${OTEL_XRAY_FUZZ_SEED:-0}" -dict=words.dict \
            -max_len=20000 -timeout=10 -rss_limit_mb=1024 -artifact_prefix="$out/findings/$1-" -print_final_stats=1 \
            "$out/corpus/$1" "corpus/$1" >>"$log" 2>&1; then
        cat "$log" >&2
        echo "fuzz: $1 found something; the input is the file named above" >&2
        return 1
    fi
    echo "fuzz: $1: $(find "corpus/$1" -type f | wc -l) seeds, $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs, nothing found"
}

failed=0
while [ $# -gt 0 ]; do
    fuzz "$1" &
    first=$!
    shift
    if [ $# -gt 0 ]; then
        fuzz "$1" || failed=1
        shift
    fi
    wait "$first" || failed=1
done
exit "$failed"
