#!/bin/sh
# Runs the Node.js agent's tests on each Node.js that it supports.
set -eu

cd "$(dirname "$0")/../.."
OTEL_XRAY_NODE_TEST=$(layer-build/tools.sh node-test)
OTEL_XRAY_NODE_BESIDE=$(layer-build/tools.sh node-beside)
OTEL_XRAY_NODE_FRESH=$(layer-build/tools.sh node-fresh)
OTEL_XRAY_NODE_AGENT=${CARGO_TARGET_DIR:-$PWD/target}/nodejs-agent-test
OTEL_XRAY_LAUNCHER=$(layer-build/launcher.sh)
export OTEL_XRAY_LAUNCHER OTEL_XRAY_NODE_TEST OTEL_XRAY_NODE_BESIDE OTEL_XRAY_NODE_FRESH OTEL_XRAY_NODE_AGENT
layer-build/bundle_nodejs.sh "$OTEL_XRAY_NODE_AGENT"
tests/nodejs/runtime_client.sh "$OTEL_XRAY_NODE_TEST" >/dev/null
# The tests run on one that can listen where the extension does: on an abstract socket.
cpu=$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
failed=
runner=$OTEL_XRAY_NODE_TEST/node_modules/node22-$cpu/bin/node
for version in ${NODE_VERSIONS:-18 20 22 24 26}; do
    export OTEL_XRAY_NODE="$OTEL_XRAY_NODE_TEST/node_modules/node$version-$cpu/bin/node"
    echo "Node.js $version"
    tests/sealed.sh "$runner" --test --test-reporter=spec tests/nodejs/*.test.mjs || failed="$failed $version"
done
[ -z "$failed" ] || { echo "failed on Node.js$failed" >&2; exit 1; }
