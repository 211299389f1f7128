#!/bin/sh
# Everything that CI runs, one step after another. A failed step does not stop the others; the last lines name it and say why.
# `tests/run.sh STEP...` runs those alone. Each step is a target of the Makefile.
set -u

cd "$(dirname "$0")/.." || exit 1
# Only what hangs reaches it: a step may compile everything first, on a slow machine.
limit_s=3600
logs=${CARGO_TARGET_DIR:-target}/steps
mkdir -p "$logs"

# steps STEP...: runs them in turn, and keeps what each printed in a file of its name.
steps() {
    failed=0
    for step in "$@"; do
        printf '\n=== %s\n' "$step"
        start=$(date +%s)
        { timeout "$limit_s" make --no-print-directory "$step" 2>&1 || echo "$?" >"$logs/$step.failed"; } | tee "$logs/$step.log"
        result=ok
        if [ -e "$logs/$step.failed" ]; then
            result=FAILED
            failed=1
        fi
        printf '=== %s: %s, %s s\n' "$step" "$result" "$(($(date +%s) - start))"
    done
    return "$failed"
}

# The failed steps, each with the first lines in which a test, a compiler or a checker says what it found.
why() {
    for mark in "$logs"/*.failed; do
        step=$(basename "$mark" .failed)
        printf 'failed: %s (make exited with %s)\n' "$step" "$(cat "$mark")"
        grep -E '^(FAILED|ERROR|E  |error|not ok|---- )|panicked at|\.\.\. FAILED|✖|[A-Za-z]Error: |No space left|timed out' "$logs/$step.log" |
            head -n 4 | cut -c 1-160
    done
}

rm -f "$logs"/*.failed
if [ $# -gt 0 ]; then
    steps "$@" && exit
    why
    exit 1
fi
layer-build/needs.sh test || exit 1
# Two lanes, because a lane that compiles leaves a core to one that waits for processes. Fuzzing compiles in a folder of its own.
steps test-node test-python test-foreign test-fuzz check-clippy >"$logs/beside" 2>&1 &
beside=$!
steps check-format check-lint check-dependencies check-licenses layer test-layer test-extension test-otlp test-e2e test-node-e2e \
    test-rie test-moto demo demo-nodejs test-rust layers test-arm64
result=$?
printf '\n=== what ran beside\n'
wait "$beside" || result=1
cat "$logs/beside"
[ "$result" = 0 ] || why
exit "$result"
