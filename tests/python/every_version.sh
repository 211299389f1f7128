#!/bin/sh
# Runs the agent's tests with the runtime client on each Python that this machine has and the agent supports.
set -eu

cd "$(dirname "$0")/../.."
tools=${OTEL_XRAY_TOOLS:-$PWD/target/tools}
pytest=$(layer-build/tools.sh test)/python
OTEL_XRAY_LAUNCHER=$(layer-build/launcher.sh)
export OTEL_XRAY_LAUNCHER
found=$("$pytest" -c 'import sys; sys.path.insert(0, "layer-build"); import pythons; print(*pythons.find().values())')
for python in $found; do
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    runtime=$(PYTHON=$python OTEL_XRAY_TOOLS=$tools/python$version layer-build/tools.sh runtime)
    echo "Python $version"
    OTEL_XRAY_TEST_PYTHON=$runtime/python3 "$pytest" -m pytest -q tests/python
done
