PYTHON ?= python3.11
BIN := .venv/bin

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/installed: setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
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

.PHONY: help install demo lint format test
