# The two commands of the README: make demo, make test.
.PHONY: demo test setup setup-models lint bench bench-models faults soak lock
.DELETE_ON_ERROR:

PYTHON ?= python3.11
BIN := .venv/bin

demo: setup
	$(BIN)/firstread demo

# Without torch, which a site's package index may not have, the tests of the licensed models are skipped with a reason;
# in continuous integration they fail. Each file's tests stay in one process: its servers are started once.
test: setup
	@sh models.sh || [ $$? = 2 ]
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

setup:
	@PYTHON=$(PYTHON) sh setup.sh

setup-models: setup
	@sh models.sh

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

# BENCH="--baseline" measures the code before readings and the one triage rule too, BENCH="lists pages" some tables alone.
bench: setup
	$(BIN)/python -m bench $(BENCH)

# The licensed models, at full size with random weights: minutes, and 10 GB of memory. BENCH as above.
bench-models: setup-models
	$(BIN)/python -m bench.models $(BENCH)

# Every fault of docs/reliability.md, and its table; FAULTS="NAME --films 12" makes one, FAULTS=--go-on what is left.
faults: setup
	$(BIN)/python -m tests.faults $(FAULTS)

# Half an hour under load and its table; SOAK="--minutes 3" tries it.
soak: setup
	$(BIN)/python -m bench.soak $(or $(SOAK),--write)

# Pin every dependency again, with digests. torch is the CPU build of PyTorch's own index.
lock:
	uv pip compile pyproject.toml --generate-hashes --no-header --python-version 3.11 -o requirements.lock --upgrade
	uv pip compile pyproject.toml --extra dev --extra demo --extra evaluation --generate-hashes --no-header --python-version 3.11 \
		-o requirements-dev.lock --upgrade
	echo 'torch==2.13.0+cpu' > .venv/torch-cpu.txt
	uv pip compile pyproject.toml --extra models --extra models-dev --generate-hashes --no-header --python-version 3.11 \
		--constraint requirements-dev.lock --constraint .venv/torch-cpu.txt \
		--find-links https://download.pytorch.org/whl/cpu/torch/ -o requirements-models.lock --upgrade
