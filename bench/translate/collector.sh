#!/bin/sh
# Measures the translator of the OpenTelemetry Collector's X-Ray exporter (needs go). Prints one line of JSON.
#
#   bench/translate/collector.sh FILE [ROUNDS]
#
# FILE is an ExportTraceServiceRequest in protobuf. The version is the one that tests/oracle/exporter/go.mod names.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
file=${1:?usage: bench/translate/collector.sh FILE [ROUNDS]}
case $file in /*) ;; *) file=$PWD/$file ;; esac
rounds=${2:-15}
build=${CARGO_TARGET_DIR:-$root/target}/bench/collector
module=github.com/open-telemetry/opentelemetry-collector-contrib/exporter/awsxrayexporter

cd "$root/tests/oracle/exporter"
go mod download "$module"
source=$(go list -m -f '{{.Dir}}' "$module")
version=$(go list -m -f '{{.Version}}' "$module")

if [ -x "$build/collector" ] && [ -z "$(find go.mod go.sum "$root/bench/translate" -newer "$build/collector")" ]; then
    exec "$build/collector" -rounds "$rounds" -version "$version" "$file"
fi

# Only code of the exporter's own module may import its internal packages: the program is built inside a copy of it.
rm -rf "$build/awsxrayexporter"
mkdir -p "$build"
cp -R "$source" "$build/awsxrayexporter"
chmod -R u+w "$build/awsxrayexporter"
mkdir "$build/awsxrayexporter/bench"
cp "$root/bench/translate/go/main.go" "$build/awsxrayexporter/bench"
cp go.mod go.sum "$build"
go mod edit -replace "$module=$build/awsxrayexporter" "$build/go.mod"
go build -modfile "$build/go.mod" -o "$build/collector" "$module/bench"
exec "$build/collector" -rounds "$rounds" -version "$version" "$file"
