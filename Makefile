# Everything that a person or CI does here. Each target does its own set-up; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2

# The stamp holds the folder it was made in: scripts in a virtual environment do not survive a move.
STALE := $(shell [ -x $(BIN)/python ] && [ -x $(BIN)/outgate ] && [ "$$(cat $(STAMP) 2>/dev/null)" = "$(CURDIR)" ] || echo stale)

.PHONY: help install system-deps lint types test test-all demo bench image-test lock clean stale

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

install: $(STAMP) ## set up .venv with hash-locked packages and this project (PYTHON=... picks the interpreter)
	@:

$(STAMP): requirements/dev.txt pyproject.toml packaging/find-python $(STALE)
	@[ -x $(BIN)/python ] && [ "$$(cat $(STAMP) 2>/dev/null)" = "$(CURDIR)" ] || { \
	  python=$$(PYTHON="$(PYTHON)" packaging/find-python); \
	  echo "install: making $(VENV) with $$python"; \
	  "$$python" -m venv --clear $(VENV); }
	@echo "install: requirements/dev.txt (every package pinned by hash)"
	@$(BIN)/python -m pip install -qq --require-hashes --only-binary :all: -r requirements/dev.txt
	@$(BIN)/python -m pip install -qq --no-index --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $@

system-deps: ## install the Debian packages of the clients that the tests start, where one is missing
	@packaging/system-deps

lint: install ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## mypy --strict
	$(BIN)/mypy

test: install system-deps lint types ## everything that CI runs: lint, types, import rules and tests
	$(BIN)/pytest -n $(JOBS) --dist loadfile -m "not slow"

test-all: install system-deps lint types ## `test` and the slow tests
	$(BIN)/pytest -n $(JOBS) --dist loadfile

demo: install ## watch the main job end to end on this machine, without a key or the internet
	@$(BIN)/python examples/demo/run.py

bench: install ## measure beside Squid, mitmdump and no proxy (QUICK=1, WORK=a,b, ENGINES=a,b, ROUNDS=5: docs/performance.md)
	@packaging/bench-deps
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(WORK),--work $(WORK)) $(if $(ENGINES),--engines $(ENGINES)) \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(OUT),--out $(OUT)) $(if $(DOCS),--docs)

image-test: install ## build the container image with buildah and send requests through it (Debian, root)
	@tests/image/run

# uv reads its own configuration for the index; no index or host may stand in a lock file (tests/test_packaging.py).
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.12 --python $(BIN)/python \
	--no-python-downloads --generate-hashes --no-emit-index-url --no-header $(if $(UPGRADE),--upgrade)

lock: install ## recompile requirements/*.txt from pyproject.toml (UPGRADE=1 takes newer versions)
	$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(LOCK) --group build -c requirements/runtime.txt -o requirements/build.txt
	$(LOCK) pyproject.toml --extra review --extra otel --group dev -c requirements/runtime.txt -c requirements/build.txt -o requirements/dev.txt

clean: ## remove .venv and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
