PYTHON ?= python3.11
BIN := .venv/bin

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.venv/installed: setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

install: .venv/installed  ## create .venv and install cambeam with what its tests need

demo: .venv/installed  ## label 64 generated scenes with the built-in model
	$(BIN)/cambeam demo

lint: .venv/installed  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint  ## lint, check types, run the tests
	$(BIN)/python -m pytest

faults: .venv/installed  ## kill, interrupt and starve runs, and count the images afterwards (half an hour)
	$(BIN)/python -m tests.faults.run

dataflow-dry-run: .venv/installed  ## build the Dataflow jobs of configs/ offline, and print what they ask for
	$(BIN)/python -m scripts.dataflow_dry_run configs/dataflow_gpu.yaml configs/dataflow_cpu.yaml

bench: .venv/installed  ## measure engine and pipeline: make bench IMAGES=TAR MODEL=PATH.keras
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benchmarks.engine --model $(MODEL) --preprocess torch
	$(BIN)/python -m benchmarks.pipeline --model $(MODEL) --preprocess torch --images $(IMAGES)

engines: .venv/installed  ## fetch Prism, Flink and Spark (550 MB) and compare the rows that they make
	$(BIN)/python -m tests.engines.install
	$(BIN)/python -m tests.engines.compare

.PHONY: help install demo lint format test faults dataflow-dry-run bench engines
