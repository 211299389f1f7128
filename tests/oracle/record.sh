#!/bin/sh
# Records again what the OpenTelemetry Collector's X-Ray exporter makes of the inputs.
#
#   tests/oracle/record.sh              expected/ from inputs/ (needs go)
#   tests/oracle/record.sh rules        first inputs/rules from record/rules
#   tests/oracle/record.sh generated    first inputs/generated from its seed
#   tests/oracle/record.sh sdks         first inputs/sdk-* from the OpenTelemetry SDKs (needs npm, and installs both SDKs below target/)
set -eu

cd "$(dirname -- "$0")"
target=${CARGO_TARGET_DIR:-$PWD/../../target}/oracle

for what in "$@"; do
    case $what in
    rules | generated) python3 "record/write_$what.py" ;;
    sdks)
        mkdir -p "$target/node"
        python3 -m venv "$target/python"
        "$target/python/bin/pip" install --quiet --disable-pip-version-check -r record/requirements.txt
        cp record/package.json record/package-lock.json "$target/node"
        npm ci --prefix "$target/node" --no-audit --no-fund --ignore-scripts --silent
        python3 record/write_sdk.py "$target/python/bin/python" "$target/node/node_modules"
        ;;
    *) echo "record.sh: there are no inputs called $what: rules, generated or sdks" >&2; exit 2 ;;
    esac
done

rm -rf expected
mkdir -p "$target"
go build -C exporter -o "$target/exporter" .
"$target/exporter" inputs expected
