#!/bin/sh
# Everything that CI runs, one step after another. A failed step does not stop the others; the last line counts them.
# `tests/run.sh STEP...` runs those alone. Each step is a target of the Makefile.
set -u

cd "$(dirname "$0")/.." || exit 1
# Only what hangs reaches it: a step may compile everything first, on a slow machine.
limit_s=3600

# steps STEP...: runs them in turn.
steps() {
    passed=0
    failed=
    for step in "$@"; do
        printf '\n=== %s\n' "$step"
        start=$(date +%s)
        if timeout "$limit_s" make --no-print-directory "$step"; then
            result=ok
            passed=$((passed + 1))
        else
            result=FAILED
            failed="$failed $step"
        fi
        printf '=== %s: %s, %s s\n' "$step" "$result" "$(($(date +%s) - start))"
    done
    [ -z "$failed" ] || printf '\nfailed:%s\n' "$failed"
    printf '\nsteps: %s passed, %s failed\n' "$passed" "$(echo "$failed" | wc -w)"
    [ -z "$failed" ]
}

if [ $# -gt 0 ]; then
    steps "$@"
    exit
fi
layer-build/needs.sh test || exit 1
# Two lanes, because a lane that compiles leaves a core to one that waits for processes. Fuzzing compiles in a folder of its own.
log=${CARGO_TARGET_DIR:-target}/beside.log
mkdir -p "${log%/*}"
steps test-node test-python test-foreign test-fuzz check-clippy >"$log" 2>&1 &
beside=$!
steps check-format check-lint check-dependencies check-licenses layer test-layer test-extension test-otlp test-e2e test-node-e2e \
    test-rie test-moto demo demo-nodejs test-rust layers test-arm64
result=$?
printf '\n=== what ran beside\n'
wait "$beside" || result=1
cat "$log"
exit "$result"
