# `make help` lists the targets. CI runs `make test`; the others are for people.
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

# Whether the kernel of compiled forests can be built.
HEADER = import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))
COMPILES := command -v cc >/dev/null && $(PYTHON) -c '$(HEADER)'

.DELETE_ON_ERROR:
.PHONY: help demo test test-long tools bench bench-engines bench-peers load lint types protos lock image-check clean install system docs

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# Debian packages pip for virtual environments apart from Python, LightGBM needs the system's OpenMP runtime, and the
# kernel of compiled forests a compiler.
system: ## install what is missing of the system's packages (Debian)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'onnxpress needs Python 3.11 or newer; name one: make PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(call debian,python3-venv)
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || $(call debian,libgomp1)
	@$(COMPILES) || { $(call debian,gcc libc6-dev python3-dev) && $(COMPILES); } \
		|| echo 'There is no C compiler or no Python.h: ONNX Runtime will run tree models alone, which is slower.' >&2

$(RUNTIME): pyproject.toml packages/forest/kernel.c packages/forest/walk.h | system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --quiet --no-compile --editable '.[convert]'
	touch $@

$(STAMP): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --quiet --editable '.[convert,loadtest,bench,dev]'
	touch $@

install: $(STAMP) ## the virtual environment with everything for development

demo: $(RUNTIME) ## train, convert, serve, call, swap under load, roll back; a few minutes
	$(BIN)/python -m examples.churn

# Figures are valid only on an otherwise idle machine, since other load is measured too.
bench: $(STAMP) ## benchmarks of the server and its peers; BENCH=--quick for a short run
	@command -v h2load >/dev/null || $(call debian,nghttp2-client)
	@command -v cc >/dev/null || $(call debian,gcc libc6-dev)
	$(BIN)/python -m benchmarks $(BENCH)

bench-engines: $(STAMP) ## benchmarks of engines for trees side by side; BENCH=--quick for a short run
	$(BIN)/python -m benchmarks.engines $(BENCH)

# Without them the benchmarks leave these peers out and say so.
bench-peers: .venv-triton/.installed .venv-mlserver/.installed .venv-engines/.installed ## install what benchmarks compare with

.venv-triton/.installed: | system
	$(PYTHON) -m venv .venv-triton
	.venv-triton/bin/python -m pip install --quiet 'nvidia-pytriton==0.7.*' 'onnxruntime>=1.23,!=1.26.0,<2'
	touch $@

# MLServer's worker processes create their loop in a way that uvloop 0.22 no longer supports.
.venv-mlserver/.installed: | system
	$(PYTHON) -m venv .venv-mlserver
	.venv-mlserver/bin/python -m pip install --quiet 'mlserver==1.7.*' 'mlserver-xgboost==1.7.*' 'uvloop<0.22'
	touch $@

.venv-engines/.installed: | system
	$(PYTHON) -m venv .venv-engines
	.venv-engines/bin/python -m pip install --quiet 'treelite==4.*' 'tl2cgen==1.*' 'scikit-learn-intelex==2026.*' \
		'scikit-learn>=1.6,<2' 'xgboost-cpu>=3,<4' 'lightgbm>=4.5,<5'
	touch $@

protos: $(STAMP) ## generate the modules of protos/
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. onnxpress/protos/package.proto onnxpress/protos/deployment.proto onnxpress/protos/onnx_graph.proto
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. onnxpress/protos/inference.proto onnxpress/protos/admin.proto

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy

# The load generator h2load, a compiler for its shim, a browser, an emulator of old processors. Tests that need one of
# them are skipped without it.
tools: ## install the programs that tests use (Debian)
	-@command -v h2load >/dev/null || $(call debian,nghttp2-client)
	-@command -v cc >/dev/null || $(call debian,gcc libc6-dev)
	-@command -v chromium >/dev/null || $(call debian,chromium)
	-@command -v qemu-x86_64 >/dev/null || $(call debian,qemu-user)

# Two processes, because most tests wait for servers; the long forms run alone, because some of them measure.
test: lint types tools ## everything that CI runs
	$(BIN)/pytest -m 'not long' --numprocesses 2 --dist worksteal

test-long: $(STAMP) tools ## all tests, with the long forms of slow suites
	$(BIN)/pytest

docs: $(STAMP) ## write docs/settings.md
	$(BIN)/python -c 'from onnxpress.server.settings import document; print(document(), end="")' > docs/settings.md

# The image installs the versions that this environment was tested with, by name, version and hash.
LOCK = $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url \
	--no-emit-find-links --only-binary :all: --python-version 3.11 --python-platform x86_64-manylinux_2_28
REQUIRES = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")

lock: $(STAMP) ## write the image's lock files, after a change of dependencies
	$(BIN)/python -m pip install --quiet 'uv>=0.8,<1'
	mkdir -p build
	$(BIN)/python -m pip freeze --exclude-editable > build/constraints.txt
	$(LOCK) --constraints build/constraints.txt --output-file image/requirements.lock pyproject.toml
	$(BIN)/python -c '$(REQUIRES)' | $(LOCK) --output-file image/build.lock -

# Runs as root, because it mounts file systems and changes roots.
image-check: $(STAMP) ## build and run the image without a Docker engine
	$(BIN)/python -m image.image_check

# `ci/load.sh` runs the other suites.
load: $(STAMP) ## load test: 1,000 requests/s for a minute against a server of its own
	PYTHON="$(abspath $(BIN))/python" ci/load.sh light steady --rps 1000 --duration 60

clean: ## remove the virtual environment and build files
	rm -rf $(VENV) build *.egg-info
