# `make help` lists the targets. Everything happens inside the checkout; `make clean` takes it away again.

SHELL := /bin/sh
VENV  := .venv
BIN   := $(VENV)/bin
# auto, cpu or cuda: which build of torch. auto takes CUDA where nvidia-smi lists a device.
TORCH ?= auto
# What `make run` trains, and further overrides, e.g. ARGS="total_steps=20000 num_worlds=64".
TASK  ?= go2_velocity
ARGS  ?=
# Further arguments of pytest, e.g. PYTEST="-k checkpoint".
PYTEST ?=
# Processes of the tests; 0: none but pytest's own, for a debugger.
WORKERS ?= auto

# The interpreter that sets up the environment; uv brings one where the system has none.
PYTHON ?= python3
SETUP = sh scripts/setup_system.sh; \
	if command -v $(PYTHON) >/dev/null 2>&1; then boot="$(PYTHON)"; else boot="uv run --no-project python"; fi; \
	$$boot scripts/bootstrap.py --torch $(TORCH) --venv $(VENV)

.DEFAULT_GOAL := help
.PHONY: help run test coverage check env env-dev clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|' 2>/dev/null || \
		grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST)

run: env ## train, evaluate, export, verify, film and report a Go2; prints where everything is
	@$(BIN)/python -m scripts.quickstart task=$(TASK) $(ARGS)

test: env-dev ## everything the tests need, then the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST)

coverage: env-dev ## the tests, and which lines of embodied/ none of them reaches
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --cov=embodied --cov-report=term $(PYTEST)

check: env-dev ## style, types and directions of import; all of them, also after one has failed
	@status=0; \
	for command in "ruff check ." "ruff format --check ." mypy "python -m pytest -q tests/test_layout.py tests/test_packaging.py"; do \
		echo "$$ $$command"; OMP_NUM_THREADS=1 $(BIN)/$$command || status=1; \
	done; exit $$status

env: ## the environment to use the suite (TORCH=cpu or TORCH=cuda overrides the choice)
	@$(SETUP) --extras export,view

env-dev: ## the environment to work on the suite
	@$(SETUP) --extras dev

clean: ## remove the environment and caches; runs and bundles stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .coverage MUJOCO_LOG.TXT
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
