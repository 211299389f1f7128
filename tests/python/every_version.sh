#!/bin/sh
# Runs the agent's tests with the runtime client on each Python that the agent supports, or on those of PYTHON_VERSIONS ("3.9 3.15").
set -eu

cd "$(dirname "$0")/../.."
tools=${OTEL_XRAY_TOOLS:-$PWD/target/tools}
pytest=$(layer-build/tools.sh test)/python
OTEL_XRAY_LAUNCHER=$(layer-build/launcher.sh)
export OTEL_XRAY_LAUNCHER
# shellcheck disable=SC2086 # a list of versions
found=$("$pytest" layer-build/pythons.py ${PYTHON_VERSIONS:-})
bundled=$(cd tests/requirements/bundled && find . -name '*.txt' ! -name '*-python*' | sed 's|^./||')
for name in $(PYTHONPATH=tests/lab "$pytest" -c 'import real_servers; print(*real_servers.SERVERS)'); do layer-build/tools.sh server "$name" >/dev/null; done
layer-build/tools.sh server odbc >/dev/null
for python in $found; do
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    runtime=$(PYTHON=$python OTEL_XRAY_TOOLS=$tools/python$version layer-build/tools.sh runtime)
    own=$(cd tests/requirements/bundled && find . -name "*-python$version.txt" | sed "s|^./||; s|-python$version||")
    for name in $bundled $own; do layer-build/tools.sh bundled "${name%.txt}" "$version" >/dev/null; done
    echo "Python $version"
    OTEL_XRAY_TEST_PYTHON=$runtime/python3 tests/sealed.sh "$pytest" -m pytest -q --numprocesses auto --dist loadfile tests/python
done
