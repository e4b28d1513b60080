# tfscale: `make help` lists the targets.
PYTHON ?= python3
MINUTES ?=
TEXT ?=
WORKERS ?= 2

BIN := .venv/bin
STAMP := .venv/installed
BENCHMARK_STAMP := .venv/installed-benchmark
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install quickstart test lint format benchmark memory clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 20

# The stamp is written last, so that an interrupted installation is done again and a finished one is not.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "error: tfscale needs Python 3.11, 3.12 or 3.13; this is %d.%d. Name another one: make PYTHON=python3.11" % v)'
	@echo "Installing tfscale with the tested versions into .venv (a few minutes, about 4 GB) ..."
	@$(PYTHON) -m venv .venv
	@$(INSTALL) --editable '.[test,notebooks,dev]'
	@touch $@

install: $(STAMP)  ## make .venv with the tested versions of everything

quickstart: $(STAMP)  ## the whole road on the Python standard library, at most 8 minutes (MINUTES=3 for less)
	@$(BIN)/tfscale quickstart $(if $(MINUTES),--minutes $(MINUTES))

test: $(STAMP)  ## all tests
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --durations 20 $(ARGS)

lint: $(STAMP)  ## style, types and the one-way rule between the rooms
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP)  ## put the code into the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

$(BENCHMARK_STAMP): $(STAMP)
	@echo "Installing what the benchmark compares with (PyTorch) into .venv ..."
	@$(INSTALL) --editable '.[benchmark]'
	@touch $@

benchmark: $(BENCHMARK_STAMP)  ## tfscale beside PyTorch and stock Keras, in one run
	@$(BIN)/python -m benchmarks $(if $(TEXT),--text '$(TEXT)') $(ARGS)

memory: $(STAMP)  ## peak memory of a train step beside stock Keras's fit (ARGS="--json memory.json" keeps the figures)
	@$(BIN)/python -m benchmarks.memory $(ARGS)

clean:  ## remove .venv, caches and build output; savedmodels/ stays
	@rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
