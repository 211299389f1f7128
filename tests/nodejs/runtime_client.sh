#!/bin/sh
# Builds the native part of the runtime client, aws-lambda-ric, from the sources in its package, for any Node.js (it
# uses Node-API alone). Prints the folder of the client. Needs a C++ compiler, make and cmake.
#
#   tests/nodejs/runtime_client.sh NODE_TEST_FOLDER
set -eu

modules=${1:?runtime_client: needs the folder that layer-build/tools.sh node-test prints}/node_modules
client=$modules/aws-lambda-ric
if [ ! -f "$client/rapid-client.node" ]; then
    log=$modules/../runtime-client.log
    echo "runtime_client: building the native part of aws-lambda-ric; its log is $log" >&2
    "$client/scripts/preinstall.sh" >"$log" 2>&1 || { echo "runtime_client: its libraries do not build, see $log" >&2; exit 1; }
    # The source includes headers of Node.js that it does not use.
    empty=$(mktemp -d)
    touch "$empty/uv.h" "$empty/v8.h" "$empty/node.h"
    artifacts=$client/deps/artifacts
    "${CXX:-c++}" -std=c++17 -O2 -fPIC -shared -DNODE_GYP_MODULE_NAME=rapid_client -DNAPI_CPP_EXCEPTIONS \
        -I"$empty" -I"$modules/node-api-headers/include" -I"$modules/node-addon-api" -I"$artifacts/include" \
        "$client/src/native/rapid-client.cc" "$artifacts"/lib*/libaws-lambda-runtime.a "$artifacts"/lib*/libcurl.a \
        -pthread -o "$client/rapid-client.node" >>"$log" 2>&1 || { echo "runtime_client: it does not compile, see $log" >&2; exit 1; }
    rm -rf "$empty" "$artifacts" "$client/deps/curl-src" "$client/deps/aws-lambda-cpp-src"
fi
# The client of the versions before uses the same module.
cp "$client/rapid-client.node" "$modules/aws-lambda-ric3/dist/"
echo "$client"
