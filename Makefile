# The one toolchain: CI runs `make test`, people run the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What converting and serving need; the demo needs no more.
RUNTIME := $(VENV)/.runtime
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Installs Debian packages; called only for what is missing.
debian = { $(SUDO) apt-get update --quiet=2 && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	apt-get install --yes --quiet=2 --no-install-recommends $(1); }

.DELETE_ON_ERROR:
.PHONY: demo test test-long tools bench bench-peers load lint types protos lock image-check clean install system docs

# On Debian pip for venv is a package of its own; LightGBM links the system's OpenMP runtime.
system:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'onnxpress needs Python 3.11 or newer; name one: make PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(call debian,python3-venv)
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || $(call debian,libgomp1)

$(RUNTIME): pyproject.toml | system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --quiet --no-compile --editable '.[convert]'
	touch $@

$(STAMP): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --quiet --editable '.[convert,loadtest,bench,dev]'
	touch $@

install: $(STAMP)

demo: $(RUNTIME)
	$(BIN)/python -m examples.churn

# Needs a quiet machine, since other processes change the figures. `make bench BENCH=--quick` is a short trial.
bench: $(STAMP)
	@command -v h2load >/dev/null || $(call debian,nghttp2-client)
	@command -v cc >/dev/null || $(call debian,gcc libc6-dev)
	$(BIN)/python -m benchmarks $(BENCH)

# The servers to compare with, each in its own environment; without them `make bench` leaves them out and notes it.
bench-peers: .venv-triton/.installed .venv-mlserver/.installed

.venv-triton/.installed: | system
	$(PYTHON) -m venv .venv-triton
	.venv-triton/bin/python -m pip install --quiet 'nvidia-pytriton==0.7.*' 'onnxruntime>=1.23,!=1.26.0,<2'
	touch $@

# Its worker processes call uvloop in a way that uvloop 0.22 no longer supports.
.venv-mlserver/.installed: | system
	$(PYTHON) -m venv .venv-mlserver
	.venv-mlserver/bin/python -m pip install --quiet 'mlserver==1.7.*' 'mlserver-xgboost==1.7.*' 'uvloop<0.22'
	touch $@

protos: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. onnxpress/protos/package.proto onnxpress/protos/deployment.proto onnxpress/protos/onnx_graph.proto
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. onnxpress/protos/inference.proto onnxpress/protos/admin.proto

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# Programs that some tests run: a load generator, a compiler for its shim, a browser. Without them those tests are skipped.
tools:
	-@command -v h2load >/dev/null || $(call debian,nghttp2-client)
	-@command -v cc >/dev/null || $(call debian,gcc libc6-dev)
	-@command -v chromium >/dev/null || $(call debian,chromium)

test: lint types tools
	$(BIN)/pytest -m 'not long'

test-long: $(STAMP) tools
	$(BIN)/pytest

docs: $(STAMP)
	$(BIN)/python -c 'from onnxpress.server.settings import document; print(document(), end="")' > docs/settings.md

# Locks what the image installs: names, versions and hashes of this environment. Run it after a change of pyproject's
# dependencies.
LOCK = $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url \
	--no-emit-find-links --only-binary :all: --python-version 3.11 --python-platform x86_64-manylinux_2_28
REQUIRES = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")

lock: $(STAMP)
	$(BIN)/python -m pip install --quiet 'uv>=0.8,<1'
	mkdir -p build
	$(BIN)/python -m pip freeze --exclude-editable > build/constraints.txt
	$(LOCK) --constraints build/constraints.txt --output-file image/requirements.lock pyproject.toml
	$(BIN)/python -c '$(REQUIRES)' | $(LOCK) --output-file image/build.lock -

# Builds the image and runs it without a Docker engine; needs root for mounts and chroot.
image-check: $(STAMP)
	$(BIN)/python -m image.image_check

# 1,000 requests/s for a minute against a server that it starts; `ci/load.sh` runs the other suites.
load: $(STAMP)
	PYTHON="$(abspath $(BIN))/python" ci/load.sh light steady --rps 1000 --duration 60

clean:
	rm -rf $(VENV) build *.egg-info
