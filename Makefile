# The two commands of the README: make demo, make test.
.PHONY: demo test setup lint bench faults soak lock
.DELETE_ON_ERROR:

PYTHON ?= python3.11
BIN := .venv/bin

demo: setup
	$(BIN)/firstread demo

test: setup
	$(BIN)/pytest

setup:
	@PYTHON=$(PYTHON) sh setup.sh

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

# BENCH="--baseline" measures the code before readings and the one triage rule too, BENCH="lists pages" some tables alone.
bench: setup
	$(BIN)/python -m bench $(BENCH)

# Every fault of docs/reliability.md, and its table; FAULTS="NAME --films 12" makes one, FAULTS=--go-on what is left.
faults: setup
	$(BIN)/python -m tests.faults $(FAULTS)

# Half an hour under load and its table; SOAK="--minutes 3" tries it.
soak: setup
	$(BIN)/python -m bench.soak $(or $(SOAK),--write)

# Pin every dependency again, with digests.
lock:
	uv pip compile pyproject.toml --generate-hashes --no-header --python-version 3.11 -o requirements.lock --upgrade
	uv pip compile pyproject.toml --extra dev --extra demo --extra evaluation --generate-hashes --no-header --python-version 3.11 \
		-o requirements-dev.lock --upgrade
