#!/bin/sh
# Type-checks the Node.js agent and bundles it: main.js, which every function reads, and a file for each part that is
# read on demand.
#
#   layer-build/bundle_nodejs.sh OUT
set -eu

out=${1:?bundle_nodejs: needs the folder to write to}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
tools=$("$root/layer-build/tools.sh" node-build)
source=$root/wrapper/nodejs
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)

"$tools/node_modules/.bin/tsc" --project "$source/tsconfig.json" --typeRoots "$tools/node_modules/@types"
rm -rf "$out"
# Each file stands alone. One that is not needed costs nothing.
parts=$(sed -n 's/^ *\([a-z0-9_]*\): typeof import("\.\/\(.*\)");$/\1=\2/p' "$source/src/chunks.ts")
set -- "main=$source/src/main.ts"
for part in $parts; do set -- "$@" "${part%%=*}=$source/src/${part#*=}.ts"; done
"$tools/node_modules/.bin/esbuild" "$@" --bundle --platform=node --format=cjs --target=node18 --minify \
    --legal-comments=none --log-level=warning "--define:AGENT_VERSION=\"$version\"" "--outdir=$out"
node "$root/layer-build/nodejs/compile_with_file.mjs" "$tools/node_modules" "$out/main.js"
