# The two commands of the README: make demo, make test.
.PHONY: demo test setup lint bench lock
.DELETE_ON_ERROR:

PYTHON ?= python3.11
BIN := .venv/bin

demo: setup
	$(BIN)/firstread demo

# Each file's tests stay in one process: its servers and browsers are started once.
test: setup
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

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

# Pin every dependency again, with digests.
lock:
	uv pip compile pyproject.toml --generate-hashes --no-header --python-version 3.11 -o requirements.lock --upgrade
	uv pip compile pyproject.toml --extra dev --extra demo --extra evaluation --generate-hashes --no-header --python-version 3.11 \
		-o requirements-dev.lock --upgrade
