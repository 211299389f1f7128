#!/bin/sh
# Names all that a goal needs of the machine and that is not there, at once, with how to get it. What `make` installs
# below target/ by itself is not asked for.
#
#   layer-build/needs.sh layer|release|demo|test
set -eu

goal=${1:?needs: which goal? see the head of $0}
cd "${0%/*}/.."
python=${PYTHON:-python3}
missing=''
newline='
'

lacks() { missing="$missing$newline  $1: $2"; }

# need COMMAND HOW: a program on PATH.
need() { command -v "$1" >/dev/null || lacks "$1" "$2"; }

# works WHAT HOW COMMAND...: where a program's presence says too little.
works() {
    what=$1 how=$2
    shift 2
    "$@" >/dev/null 2>&1 || lacks "$what" "$how"
}

any_python='
import sys
sys.path.insert(0, "layer-build")
import pythons
sys.exit(len(pythons.find()) < len(pythons.VERSIONS))'

needs_layer() {
    works "Rust" "install rustup, then run: rustup toolchain install" cargo --version
    need cc "install a C compiler and linker (Debian: gcc libc6-dev)"
    works "Python" "install Python 3.9 or later with venv and pip (Debian: python3 python3-venv python3-pip), or name one in PYTHON" \
        "$python" -c 'import ensurepip, pip, sys, venv; sys.exit(sys.version_info < (3, 9))'
    works "Node.js" "install version 18 or later" node -e 'process.exit(Number(process.versions.node.split(".")[0] < 18))'
    need npm "install npm, which comes with Node.js (Debian: npm)"
}

needs_release() {
    needs_layer
    command -v mvn >/dev/null || works "mvn" "install Maven, which brings the versions of Python that this machine lacks (Debian: maven)" \
        "$python" -c "$any_python"
}

needs_test() {
    needs_layer
    works "rustfmt" "run: rustup component add rustfmt" cargo fmt --version
    works "clippy" "run: rustup component add clippy" cargo clippy --version
    need mvn "install Maven (Debian: maven)"
    need java "install a JDK (Debian: default-jdk-headless)"
    need javac "install a JDK (Debian: default-jdk-headless)"
    need cmake "install CMake (Debian: cmake)"
    need c++ "install a C++ compiler (Debian: g++)"
    need xz "install xz (Debian: xz-utils)"
    need git "install Git (Debian: git)"
    need bash "install Bash (Debian: bash)"
    need ip "install iproute2 (Debian: iproute2)"
    need unshare "install util-linux (Debian: util-linux mount)"
    works "namespaces" "run as root, or allow users to make namespaces (sysctl kernel.unprivileged_userns_clone=1)" unshare -rmn true
    need apt-get "use Debian or Ubuntu: the databases of tests and QEMU are taken from their packages, without installing them"
    need setpriv "install util-linux"
}

case $goal in
layer | demo) needs_layer ;;
release) needs_release ;;
test) needs_test ;;
*) echo "needs: unknown goal '$goal'; see the head of $0" >&2 && exit 2 ;;
esac

if [ -n "$missing" ]; then
    echo "needs: this machine lacks what 'make $goal' needs:$missing" >&2
    exit 1
fi
