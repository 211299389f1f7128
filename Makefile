# What needs installing is installed into target/ by layer-build/tools.sh. `make help` lists the targets.

ARCH := $(shell uname -m | sed s/aarch64/arm64/)
OTHER_ARCH := $(if $(filter x86_64,$(ARCH)),arm64,x86_64)
TOOLS := layer-build/tools.sh
PYTEST = tests/sealed.sh "$$($(TOOLS) test)/python" -m pytest -q
PREPARE = tests/prepare.sh
CHECK = $(if $(RELEASE),--release)
export CARGO_TARGET_DIR ?= $(CURDIR)/target
export OTEL_XRAY_LAYER ?= $(CURDIR)/dist/otel-xray-$(ARCH).zip

.PHONY: help demo demo-nodejs needs-demo test soak bench bench-node bench-python bench-translate fuzz layer layers layer-$(OTHER_ARCH) local fmt lint
.PHONY: check-format check-clippy check-lint check-rooms-nodejs check-rooms-python check-rooms-rust check-dependencies check-licenses
.PHONY: test-rust test-fuzz test-layer test-agents test-python test-node test-node-e2e test-extension test-otlp test-arm64 test-rie test-moto test-e2e test-foreign

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 22

demo: needs-demo layer local ## a real function, traced with no code change; RUNTIME=python, nodejs or nodejs-esm
	@$(PREPARE) $(if $(filter nodejs%,$(RUNTIME)),nodejs-demo,python-demo)
	@RUNTIME=$(RUNTIME) "$$($(TOOLS) test)/python" tests/demo/run.py

demo-nodejs:
	@$(MAKE) --no-print-directory demo RUNTIME=nodejs

needs-demo:
	@layer-build/needs.sh demo

test: ## everything that CI runs
	@tests/run.sh

bench: layer ## start-up, memory, size, and what the agents cost
	bench/run

soak: layer ## SOAK_INVOCATIONS (10000) with chance freezes, faults and endings
	OTEL_XRAY_SOAK=$(or $(SOAK_INVOCATIONS),10000) cargo test --locked --package otel-xray-tests --test soak -- --nocapture

bench-translate: ## spans a second, beside the OpenTelemetry Collector's X-Ray exporter (needs go)
	bench/translate/run
	python3 bench/figures.py

bench-node: layer ## what the Node.js agent costs, beside ADOT and the upstream OpenTelemetry layer (needs npm)
	bench/nodejs/run
	python3 bench/figures.py

bench-python: layer ## what the Python layer costs, beside ADOT and the upstream OpenTelemetry layer
	bench/python/run
	python3 bench/figures.py

fuzz: ## hostile input, for FUZZ_SECONDS on each target (300)
	tests/fuzz/run.sh $(or $(FUZZ_SECONDS),300)

layer: ## the layer zips for this machine's architecture, in dist/; RELEASE=1 fails where they are no release
	@layer-build/needs.sh $(if $(RELEASE),release,layer)
	layer-build/build.sh --arch $(ARCH)
	"$$($(TOOLS) build)/python" layer-build/check.py $(CHECK) dist/otel-xray-$(ARCH).zip dist/otel-xray-collector-$(ARCH).zip

layer-$(OTHER_ARCH):
	@layer-build/needs.sh $(if $(RELEASE),release,layer)
	layer-build/build.sh --arch $(OTHER_ARCH)
	"$$($(TOOLS) build)/python" layer-build/check.py $(CHECK) dist/otel-xray-$(OTHER_ARCH).zip dist/otel-xray-collector-$(OTHER_ARCH).zip

layers: layer layer-$(OTHER_ARCH) ## the layer zips for both architectures

local: ## otel-xray-local: Lambda and X-Ray on this machine
	cargo build --locked --quiet --package otel-xray-local

fmt: ## formats Rust and Python
	cargo fmt --all
	cargo fmt --manifest-path tests/fuzz/Cargo.toml
	"$$($(TOOLS) lint)/ruff" format

lint: check-format check-clippy check-lint ## what the tools say of the sources

check-format:
	cargo fmt --all --check
	cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
	"$$($(TOOLS) lint)/ruff" format --check

check-clippy:
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --package otel-xray-launcher --profile launcher -- -D warnings
	CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)/fuzz" cargo clippy --manifest-path tests/fuzz/Cargo.toml --all-targets -- -D warnings

check-lint: check-rooms-nodejs check-rooms-python check-rooms-rust
	"$$($(TOOLS) lint)/ruff" check
	"$$($(TOOLS) lint)/shellcheck" .ci/run bench/run bench/nodejs/run bench/python/run bench/translate/run $$(git ls-files '*.sh')
	"$$($(TOOLS) lint)/cfn-lint" template.yaml
	python3 bench/figures.py --check

check-rooms-rust: ## which way the arrows between the rooms of the Rust crates run
	python3 tests/rooms.py

check-rooms-nodejs: ## which way the arrows between the rooms of the Node.js agent's sources run
	node wrapper/nodejs/rooms/check.mjs "$$($(TOOLS) node-rooms)"

check-rooms-python: ## which way the arrows between the rooms of the Python agent run
	PYTHONPATH=wrapper/python "$$($(TOOLS) lint)/lint-imports" --no-cache --config wrapper/python/.importlinter

check-dependencies:
	cargo tree --locked --edges normal --target all --prefix none --package otel-xray | python3 layer-build/dependencies.py

# Without `advisories`: its database is a git repository, and the check has to run where only package registries are reached.
check-licenses:
	PATH="$$($(TOOLS) deny):$$PATH" cargo deny --locked check bans licenses sources
	PATH="$$($(TOOLS) deny):$$PATH" cargo deny --manifest-path tests/fuzz/Cargo.toml --config deny.toml check bans licenses sources

# With a seed for the same reason as below.
test-rust:
	PROPTEST_RNG_SEED=1 OTEL_XRAY_TEST_PYTHON="$$($(TOOLS) runtime)/python3" cargo test --locked --no-fail-fast --workspace --exclude otel-xray-tests

# A seed, so that a fresh checkout tries the same inputs every time.
test-fuzz:
	OTEL_XRAY_FUZZ_SEED=1 tests/fuzz/run.sh 10

test-layer:
	$(PYTEST) tests/layer

test-python: ## the Python agent on its oldest and its newest Python, or on PYTHON_VERSIONS
	PYTHON_VERSIONS="$(or $(PYTHON_VERSIONS),3.9 3.15)" tests/python/every_version.sh

test-node: ## the Node.js agent on Node.js 18, 22 and 26, or on NODE_VERSIONS
	NODE_VERSIONS="$(or $(NODE_VERSIONS),18 22 26)" tests/nodejs/every_version.sh

test-agents: ## the agents on every version that they support
	tests/python/every_version.sh
	tests/nodejs/every_version.sh

test-node-e2e: layer local
	$(PREPARE) nodejs
	$(PYTEST) tests/nodejs

test-arm64: layers
	$(PREPARE) arm64
	$(PYTEST) tests/arm64

test-extension: layer
	$(PYTEST) tests/extension

test-otlp: layer ## OTLP: the exporters of Python, Rust, Node.js and Java, and hostile input
	$(PREPARE) otlp
	$(PYTEST) tests/otlp

test-rie: layer local
	$(PREPARE) rie
	$(PYTEST) tests/rie

test-foreign: ## other projects' test suites inside of a function; what differs is listed in tests/foreign
	$(PREPARE) foreign
	OTEL_XRAY_LAUNCHER="$$(layer-build/launcher.sh)" $(PYTEST) tests/foreign

test-moto: layer local
	$(PREPARE) moto
	$(PYTEST) tests/moto

test-e2e: layer
	OTEL_XRAY_TEST_PYTHON="$$($(TOOLS) runtime)/python3" cargo test --locked --package otel-xray-tests
