#!/bin/sh
# Everything that CI runs, one step after another. A failed step does not stop the others; the last line counts them.
# `tests/run.sh STEP...` runs those alone. Each step is a target of the Makefile.
set -u

cd "$(dirname "$0")/.." || exit 1
# Only what hangs reaches it: a step may compile everything first, on a slow machine.
limit_s=3600
if [ $# -eq 0 ]; then
    layer-build/needs.sh test || exit 1
    set -- check-format check-lint check-dependencies check-licenses check-clippy test-rust test-fuzz layer test-layer test-python \
        test-node test-extension test-otlp test-e2e test-node-e2e test-rie test-moto test-foreign layers test-arm64 demo demo-nodejs
fi

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
