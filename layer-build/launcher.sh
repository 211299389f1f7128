#!/bin/sh
# Compiles the launcher for this machine, without the layer's care for its size, and prints the file's path: for tests.
set -eu

cd "$(dirname -- "$0")/.."
cargo build --locked --quiet --package otel-xray-launcher >&2
echo "${CARGO_TARGET_DIR:-$PWD/target}/debug/otel-instrument"
