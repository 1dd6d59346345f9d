# With only Python 3.11+ (with venv) and make on the machine:
#   make demo    sets everything up and runs the service against a simulated org
#   make test    sets everything up and passes lint, types, import contracts and tests

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# xdist workers: three on two cores, because what starts processes of its own waits for them half of the time; in CI, where rounds are longer, two.
WORKERS ?= $(if $(CI),2,3)

.PHONY: fuzz promises bench image-check snapshot mend-kills sink-kills help demo test lint types contracts tests chaos replicas storm model mutants replay format lock clean check-python simulation mutation soak

help:
	@sed -n 's/^#   //p' Makefile

check-python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "cadence-consumer needs Python 3.11 or newer and found no '$(PYTHON)'." >&2; \
	  echo "Install it (Debian/Ubuntu: apt-get install python3 python3-venv; macOS: brew install python) or name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "cadence-consumer needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V)." >&2; \
	  echo "Name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' has no venv module. Debian/Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# The runtime alone, with the console script: what a user needs.
$(VENV)/.runtime: requirements.lock pyproject.toml | check-python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# What the tests need on top.
$(VENV)/.dev: tests/requirements.lock $(VENV)/.runtime
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.lock
	@touch $@

# What fuzzing needs on top.
$(VENV)/.fuzz: tests/fuzzing/requirements.lock $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r tests/fuzzing/requirements.lock
	@touch $@

# What mutation testing needs on top.
$(VENV)/.mutation: tests/mutation/requirements.lock $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r tests/mutation/requirements.lock
	@touch $@

demo: $(VENV)/.runtime
	$(BIN)/cadence-consumer demo

test: lint types contracts tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

tests: $(VENV)/.dev
	@$(BIN)/python -m tests.support.servers.debian
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# Long rounds of kills, lost answers, restores and frozen replicas on a real Redis.
chaos: $(VENV)/.dev
	$(BIN)/python -m tests.rounds.chaos --rounds 30

# Ten minutes of kills, freezes and restarts of three replicas on one Redis; in the suite half a minute, in CI two.
replicas: $(VENV)/.dev
	$(BIN)/python -m tests.rounds.replicas --minutes 10

# Half an hour of connection faults on the service with a real Redis; in the suite a minute, in CI five.
storm: $(VENV)/.dev
	$(BIN)/python -m tests.rounds.storm --minutes 30

# An hour of an endless stream, with a rolling checksum of order and completeness and the slope of memory; in the suite a quarter of a minute.
soak: $(VENV)/.dev
	$(BIN)/python -m tests.rounds.soak --minutes 60

# Measures the service beside what one would take instead, and writes the tables into tests/benchmarks/README.md; under fifteen minutes with the installation.
bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks

# 150,000 runs and 300,000 steps read while the org goes on living: the rate, and whether memory stays flat.
snapshot: $(VENV)/.dev
	$(BIN)/python -m tests.rounds.snapshotting

# Ten kills in the middle of each kind of reconcile task; in the suite one.
mend-kills: $(VENV)/.dev
	RECONCILE_KILLS=10 $(BIN)/pytest -q -s tests/acceptance/test_kill_reconcile.py

# Twenty kills with sinks behind and a flapping receiver, twenty in the middle of writes; in the suite five each.
sink-kills: $(VENV)/.dev
	SINK_KILLS=20 FILE_KILLS=20 $(BIN)/pytest -q -s tests/acceptance/test_kill_sinks.py tests/acceptance/test_kill_files.py

# Everything that reads bytes of others, under a coverage-guided fuzzer: so many minutes for each of the targets, two at a time.
# Then 100,000 generated answers of Salesforce, to the boundary and to the running service.
MINUTES ?= 2
ANSWERS ?= 100000
fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzzing --minutes $(MINUTES)
	$(BIN)/python -m tests.fuzzing.answers --count $(ANSWERS)

# Every operator, number and argument of the parts that keep the promises turned into another, one at a time; ends with 1 when no test notices and no reason is listed.
mutation: $(VENV)/.mutation
	$(BIN)/python -m tests.mutation

# 100,000 random schedules of the protocol, beside a model that predicts every answer of the store; in the suite 5,000.
model: $(VENV)/.dev
	$(BIN)/python -m tests.model --rounds 50000 --jobs 2

# 20,000 seeds of two or three whole services in a world that kills, freezes, cuts and steals; in the suite 2,000.
SEEDS ?= 20000
simulation: $(VENV)/.dev
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs 2

# A million journal events replayed into a counting handler: the rate, and whether memory stays flat.
replay: $(VENV)/.dev
	$(BIN)/python -m tests.rounds.replaying --events 1000000

# Takes each rule of the protocol out and shows the test that goes red.
mutants: $(VENV)/.dev
	$(BIN)/python -m tests.mutants

# Takes the code of each promise away and shows that every test that tests/README.md names for it goes red.
promises: $(VENV)/.dev
	@$(BIN)/python -m tests.support.servers.debian
	$(BIN)/python -m tests.promises

# Builds the image with buildah on a Debian base made here and runs it, as root on Debian or Ubuntu; needs no container engine.
image-check: $(VENV)/.dev
	$(BIN)/python -m tests.rounds.image_check

format: $(VENV)/.dev
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

# Lock files name hashes, never addresses.
lock: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate pyproject.toml --group dev -c requirements.lock -o tests/requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate --group fuzz -o tests/fuzzing/requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate --group mutation -c tests/requirements.lock -o tests/mutation/requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
