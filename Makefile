# make demo   cut the bundled base to a latency budget on the emulated Jetson Nano
# make test   everything that CI runs
# make bench  benchmark tables under benchmarks/results
# make serve  HTTP API with web page

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
DEMO_BUDGET_MS ?= 5.5
DEMO_TRIALS ?= 60
DEMO_DIR ?= runs/demo
DEMO_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint types imports unit bench bench-derive bench-emulator bench-latency bench-search serve clean

help:
	@grep -E '^# make' Makefile | cut -c3-

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found"; echo "hint: make PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/nuwa-search --budget-ms $(DEMO_BUDGET_MS) --trials $(DEMO_TRIALS) --db $(DEMO_DIR)/nuwa.sqlite -o $(DEMO_DIR)/bundle $(DEMO_FLAGS)

test: lint types imports unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

imports: $(VENV)/.installed-dev
	$(BIN)/lint-imports

unit: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

bench: bench-emulator bench-derive bench-latency bench-search

bench-derive bench-emulator bench-latency bench-search: bench-%: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/$*.py

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache runs
