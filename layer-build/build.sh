#!/bin/sh
# Builds the layer zips of one architecture:
#
#   layer-build/build.sh [--arch x86_64|arm64] [--out dist] [--std auto|rustup|debian|glibc]
#
# Extension and launcher are static files (musl, no program interpreter), which start on Amazon Linux 2, 2023 and in any
# container image. --std says where their standard library comes from: rustup's target, else built from the sources in Debian's
# packages, else (glibc) dynamic files for glibc 2.17 and later. auto takes the first that can be had.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
arch=$(uname -m | sed s/aarch64/arm64/)
out=dist
std=auto
while [ $# -gt 0 ]; do
    case $1 in
    --arch) arch=${2:?build: --arch needs a value} && shift 2 ;;
    --out) out=${2:?build: --out needs a value} && shift 2 ;;
    --std) std=${2:?build: --std needs a value} && shift 2 ;;
    *) echo "build: unknown argument '$1'; usage: build.sh [--arch x86_64|arm64] [--out dist] [--std auto|rustup|debian|glibc]" >&2 && exit 2 ;;
    esac
done
case $arch in
x86_64) cpu=x86_64 ;;
arm64) cpu=aarch64 ;;
*) echo "build: --arch is x86_64 or arm64, not '$arch'" >&2 && exit 2 ;;
esac
case $out in /*) ;; *) out=$PWD/$out ;; esac

cd "$root"
target_dir=${CARGO_TARGET_DIR:-$root/target}
musl=$cpu-unknown-linux-musl
glibc=$cpu-unknown-linux-gnu
PATH=$(layer-build/tools.sh build):$PATH
export PATH CARGO_TARGET_DIR="$target_dir"

say() { echo "build: $*" >&2; }

rustup_has() {
    command -v rustup >/dev/null || return 1
    rustup target list --installed | grep -qx "$1" && return
    say "asking rustup for $1"
    rustup target add "$1" >&2
}

if [ "$std" = auto ]; then
    if rustup_has "$musl"; then
        std=rustup
    elif layer-build/tools.sh debian-rust >/dev/null; then
        std=debian
    else
        std=glibc
    fi
fi

# Paths of the building machine stay out of the file. zig brings C library, unwinder and start-up code. Without
# relocation-model=static a musl file keeps a program interpreter and does not start on Lambda. With frame pointers the tables
# for unwinding say where a frame is once, and not again behind every push: a fiftieth of the file.
flags="--remap-path-prefix=$root=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo -C force-frame-pointers=yes"
# Of a package's path, its name and version say all.
for index in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do flags="$flags --remap-path-prefix=$index="; done
static="-C link-self-contained=no -C target-feature=+crt-static -C relocation-model=static"
std_of_extension='' std_of_launcher=''
case $std in
rustup)
    rustup_has "$musl" || { say "rustup cannot provide $musl; try --std debian or --std glibc" && exit 1; }
    set -- --target "$musl"
    ;;
debian)
    RUSTC=$(layer-build/tools.sh debian-rust)
    # The standard library is built along, which a released compiler allows only on this request.
    export RUSTC RUSTC_BOOTSTRAP=1
    flags="$flags --remap-path-prefix=$(dirname "$RUSTC")=rust"
    set -- --target "$musl"
    std_of_extension=-Zbuild-std=std,panic_unwind std_of_launcher=-Zbuild-std=core
    ;;
glibc)
    static=
    if ! rustup_has "$glibc"; then
        say "no standard library for $glibc: 'rustup target add $glibc' failed"
        exit 1
    fi
    set -- --target "$glibc.2.17"
    ;;
*) say "--std is auto, rustup, debian or glibc, not '$std'" && exit 2 ;;
esac
# The optimisations are the workspace's release profile; cargo-lambda's own would override some of it.
export RUSTFLAGS="$flags $static" XDG_CACHE_HOME="$target_dir/cache"

say "compiling the extension for $arch (standard library: $std)"
lambda_dir=$target_dir/lambda/$arch
compile() {
    cargo lambda build --extension --locked --skip-target-check --disable-optimizations --lambda-dir "$lambda_dir" "$@" >&2
}
compile --package otel-xray --release "$@" ${std_of_extension:+"$std_of_extension"}
compile --package otel-xray-launcher --profile launcher "$@" ${std_of_launcher:+"$std_of_launcher"}

layer-build/bundle_nodejs.sh "$target_dir/nodejs-agent"
exec "$(layer-build/tools.sh build)/python" layer-build/assemble.py --arch "$arch" --extension "$lambda_dir/extensions/otel-xray" \
    --launcher "$lambda_dir/extensions/otel-instrument" --nodejs-agent "$target_dir/nodejs-agent" --stage "$target_dir/layer/$arch" --out "$out"
