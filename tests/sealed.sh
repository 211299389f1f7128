#!/bin/sh
# Runs a command in which nothing can be built or installed: what tests use, tests/prepare.sh has made ready.
#
#   tests/sealed.sh COMMAND [ARGUMENT...]
set -eu

sealed=${CARGO_TARGET_DIR:-$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)/target}/sealed
mkdir -p "$sealed"
for tool in apt-get c++ cargo cc cmake g++ gcc go javac make mvn npm npx pip pip3 rustc; do
    # Moved into place: suites run beside each other.
    printf '#!/bin/sh\necho "sealed: a test ran %s; let tests/prepare.sh do it before the tests begin" >&2\nexit 97\n' "$tool" >"$sealed/.$tool.$$"
    chmod 0755 "$sealed/.$tool.$$"
    mv "$sealed/.$tool.$$" "$sealed/$tool"
done
# `python -m pip`, and whoever calls a program by its path, is told to ask no registry; nor does pip find wheels in a folder.
PIP_NO_INDEX=1 PIP_FIND_LINKS='' CARGO_NET_OFFLINE=true GOPROXY=off npm_config_offline=true PATH=$sealed:$PATH exec "$@"
