# The two commands of the README: make demo, make test.
.PHONY: demo test setup setup-models orthanc-1.12 lint bench bench-models faults fuzz openapi soak attacks compose-test units-test sbom lock
.DELETE_ON_ERROR:

PYTHON ?= python3.11
# One more than there are cores, since tests wait a third of their time for servers and browsers.
TEST_PROCESSES ?= $(shell cores=$$(nproc); echo $$((cores < 4 ? cores + 1 : 4)))
BIN := .venv/bin

demo: setup
	$(BIN)/firstread demo

# Without torch, which a site's package index may not have, the tests of the licensed models are skipped with a reason;
# in continuous integration they fail. Each file's tests stay in one process: its servers are started once. The files with
# few and slow tests come first, so that no process is left alone with them.
test: setup
	@sh models.sh || [ $$? = 2 ]
	$(BIN)/pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

setup:
	@PYTHON=$(PYTHON) sh setup.sh

setup-models: setup
	@sh models.sh

# Debian 13's Orthanc beside this machine's own: with it the tests of what Orthanc itself answers run on both.
orthanc-1.12: setup
	@sh orthanc-1.12.sh .venv/share/orthanc-1.12

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

# An hour of odd inputs, and the table in docs/films.md; FUZZ="--minutes 5 --seed 7 --only pixels" makes fewer.
fuzz: setup
	$(BIN)/python -m tests.fuzz $(or $(FUZZ),--write)

# Every operation of the HTTP interface with odd requests, five minutes; OPENAPI="--minutes 1 --seed 7" asks fewer.
openapi: setup
	@sh schemathesis.sh .venv/share/schemathesis
	$(BIN)/python -m tests.openapi $(OPENAPI)

# Half an hour under load and its table; SOAK="--minutes 3" tries it.
soak: setup
	$(BIN)/python -m bench.soak $(or $(SOAK),--write)

# The Compose file with a real engine, from its build to its end: docs/operations.md says what is done. Where no registry
# of images is reached, COMPOSE_TEST=--own-bases makes the base images of Debian's packages, as root, by debootstrap.
compose-test: setup
	$(BIN)/python -m tests.compose $(COMPOSE_TEST)

# docs/operations.md without Docker, word for word, on a machine with systemd, which is a container made here, as root.
units-test: setup
	$(BIN)/python -m tests.compose.units

# A site with a login, half an hour under attack, and its table; ATTACKS="--minutes 3" tries it.
attacks: setup
	$(BIN)/python -m bench.attacks $(or $(ATTACKS),--write)

# The bill of materials of what a site installs: the image holds the same.
sbom:
	$(PYTHON) -m venv --clear .venv/share/site
	.venv/share/site/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@sh sbom.sh .venv/share/site/bin/python sbom.json

# Pin every dependency again, with digests. torch is the CPU build of PyTorch's own index.
lock:
	uv pip compile pyproject.toml --generate-hashes --no-header --python-version 3.11 -o requirements.lock --upgrade
	uv pip compile pyproject.toml --extra dev --extra demo --extra evaluation --generate-hashes --no-header --python-version 3.11 \
		-o requirements-dev.lock --upgrade
	echo 'cyclonedx-bom>=7,<8' | uv pip compile - --generate-hashes --no-header --python-version 3.11 -o requirements-sbom.lock --upgrade
	echo 'torch==2.13.0+cpu' > .venv/torch-cpu.txt
	uv pip compile pyproject.toml --extra models --extra models-dev --extra tuning --generate-hashes --no-header --python-version 3.11 \
		--constraint requirements-dev.lock --constraint .venv/torch-cpu.txt \
		--find-links https://download.pytorch.org/whl/cpu/torch/ -o requirements-models.lock --upgrade
