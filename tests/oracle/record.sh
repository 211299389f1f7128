#!/bin/sh
# Records again what the OpenTelemetry Collector's X-Ray exporter makes of the inputs.
#
#   tests/oracle/record.sh              expected/ from inputs/ (needs go)
#   tests/oracle/record.sh rules        first inputs/rules from record/rules
#   tests/oracle/record.sh generated    first inputs/generated from its seed
#   tests/oracle/record.sh sdks         first inputs/sdk-* from the OpenTelemetry SDKs (needs npm, and installs both SDKs below target/)
#   tests/oracle/record.sh outlet       first outlet/sent from what the otlp outlet makes of outlet/spans (needs cargo)
#   tests/oracle/record.sh agents       first outlet/spans and outlet/sent from the layer's agents (needs what their tests need)
set -eu

cd "$(dirname -- "$0")"
target=${CARGO_TARGET_DIR:-$PWD/../../target}/oracle

write_sent=
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
    agents)
        layer_build=$PWD/../../layer-build
        OTEL_XRAY_LAUNCHER=$("$layer_build/launcher.sh")
        OTEL_XRAY_TEST_PYTHON=$("$layer_build/tools.sh" runtime)/python3
        OTEL_XRAY_NODE_TEST=$("$layer_build/tools.sh" node-test)
        OTEL_XRAY_NODE_AGENT=$target/nodejs-agent
        OPENTELEMETRY_API=$target/opentelemetry-api
        NODE=$(command -v node)
        export OTEL_XRAY_LAUNCHER OTEL_XRAY_TEST_PYTHON OTEL_XRAY_NODE_TEST OTEL_XRAY_NODE_AGENT OPENTELEMETRY_API NODE
        "$layer_build/bundle_nodejs.sh" "$OTEL_XRAY_NODE_AGENT"
        ../nodejs/runtime_client.sh "$OTEL_XRAY_NODE_TEST" >/dev/null
        python3 -m pip install --quiet --disable-pip-version-check --upgrade --target "$OPENTELEMETRY_API" opentelemetry-api
        PYTHONPATH=../python:../lab "$("$layer_build/tools.sh" test)/python" record/write_agents.py
        write_sent=yes
        ;;
    outlet) write_sent=yes ;;
    *) echo "record.sh: there are no inputs called $what: rules, generated, sdks, outlet or agents" >&2; exit 2 ;;
    esac
done
if [ -n "$write_sent" ]; then
    OTEL_XRAY_ORACLE_WRITE=1 cargo test --quiet --package otel-xray --test export what_the_exporter_was_given
fi

rm -rf expected outlet/expected
mkdir -p "$target"
go build -C exporter -o "$target/exporter" .
"$target/exporter" inputs expected
"$target/exporter" outlet/sent outlet/expected
