#!/bin/sh
# Installs and builds what a suite's tests use, before they run: in a test's own time nothing is built or installed.
#
#   tests/prepare.sh e2e|foreign|moto|nodejs|otlp|rie|arm64|python-demo|nodejs-demo...
set -eu

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}

install() { layer-build/tools.sh "$@" >/dev/null; }

for suite in "$@"; do
    case $suite in
    e2e | moto | python-demo) install runtime ;;
    foreign)
        install runtime
        install foreign
        version=$("$(layer-build/tools.sh runtime)/python3" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        install bundled opentelemetry-sdk "$version"
        ;;
    nodejs-demo)
        install runtime
        install node-demo
        ;;
    nodejs)
        install runtime
        tests/nodejs/runtime_client.sh "$(layer-build/tools.sh node-test)" >/dev/null
        ;;
    rie)
        install runtime
        install rie
        ;;
    arm64)
        case $(uname -m) in
        aarch64) install qemu x86_64 ;;
        *) install qemu aarch64 ;;
        esac
        ;;
    otlp)
        install otlp-python
        install node-test
        install otlp-node
        java=$(layer-build/tools.sh otlp-java)
        javac -cp "$java/*" -d "$target/otlp-java-client" tests/otlp/java/Client.java
        cargo build --locked --quiet --package otel-xray-tests --example otlp_client
        ;;
    *) echo "prepare: unknown suite '$suite'; see the head of $0" >&2 && exit 2 ;;
    esac
done
