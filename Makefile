# Needed on the machine: Python 3.11+ (with venv) and make. `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# xdist workers: three on two cores, because tests that start processes wait for them half of the time; in CI, where rounds are longer, two.
WORKERS ?= $(if $(CI),2,3)

.PHONY: help demo test lint types contracts tests versions format lock clean check-python \
        chaos replicas storm soak snapshot replay reconcile-kills sink-kills bench image-check \
        model simulation fuzz mutation mutants promises

help: ## show this list
	@awk -F ':.* ## ' '/^[a-z-]+:.* ## / { printf "%-18s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

check-python: ## check that PYTHON is new enough and can make a virtual environment
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "cadence-consumer needs Python 3.11 or newer and found no '$(PYTHON)'." >&2; \
	  echo "Install it (Debian/Ubuntu: apt-get install python3 python3-venv; macOS: brew install python) or name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "cadence-consumer needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V)." >&2; \
	  echo "Name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' has no venv module. Debian/Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# Runtime dependencies and the console script.
$(VENV)/.runtime: requirements.lock pyproject.toml | check-python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# Dependencies of the tests, on top.
$(VENV)/.dev: tests/requirements.lock $(VENV)/.runtime
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.lock
	@touch $@

# Dependencies of fuzzing, on top.
$(VENV)/.fuzz: tests/fuzzing/requirements.lock $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r tests/fuzzing/requirements.lock
	@touch $@

# Dependencies of mutation testing, on top.
$(VENV)/.mutation: tests/mutation/requirements.lock $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r tests/mutation/requirements.lock
	@touch $@

demo: $(VENV)/.runtime ## set everything up and run the service against a simulated org
	$(BIN)/cadence-consumer demo

test: lint types contracts tests ## set everything up and pass lint, types, import contracts and tests

lint: $(VENV)/.dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

contracts: $(VENV)/.dev ## import contracts between the packages
	$(BIN)/lint-imports

tests: $(VENV)/.dev ## the whole suite
	@$(BIN)/python -m tests.support.servers.debian
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# Unit tests, properties and contracts, each version in a virtual environment of its own; `make tests` covers the version of .venv.
versions: $(VENV)/.dev ## unit tests, properties and contracts on the other declared Pythons
	$(BIN)/python -m tests.rounds.versions

chaos: $(VENV)/.dev ## rounds of kills, lost answers, restores and frozen replicas on a real Redis
	$(BIN)/python -m tests.rounds.chaos --rounds 30

# In the suite half a minute, in CI two.
replicas: $(VENV)/.dev ## ten minutes of kills, freezes and restarts of three replicas on one Redis
	$(BIN)/python -m tests.rounds.replicas --minutes 10

# In the suite a minute, in CI five.
storm: $(VENV)/.dev ## half an hour of connection faults on the service with a real Redis
	$(BIN)/python -m tests.rounds.storm --minutes 30

# In the suite a quarter of a minute.
soak: $(VENV)/.dev ## an hour of an endless stream: order, completeness and the slope of memory
	$(BIN)/python -m tests.rounds.soak --minutes 60

# Under fifteen minutes with the installation.
bench: $(VENV)/.dev ## measure the service beside its alternatives and write tests/benchmarks/README.md
	$(BIN)/python -m tests.benchmarks

snapshot: $(VENV)/.dev ## 150,000 runs and 300,000 steps read while the org continues: rate and memory
	$(BIN)/python -m tests.rounds.snapshotting

# In the suite one kill of each kind.
reconcile-kills: $(VENV)/.dev ## ten kills in the middle of each kind of reconcile task
	RECONCILE_KILLS=10 $(BIN)/pytest -q -s tests/acceptance/test_kill_reconcile.py

# In the suite five kills each.
sink-kills: $(VENV)/.dev ## twenty kills with sinks behind a flapping receiver, twenty in the middle of writes
	SINK_KILLS=20 FILE_KILLS=20 $(BIN)/pytest -q -s tests/acceptance/test_kill_sinks.py tests/acceptance/test_kill_files.py

# Minutes for each target, two at a time; then generated answers of Salesforce, to the boundary and to the running service.
MINUTES ?= 2
ANSWERS ?= 100000
fuzz: $(VENV)/.fuzz ## coverage-guided fuzzing of all readers of foreign bytes, then generated answers
	$(BIN)/python -m tests.fuzzing --minutes $(MINUTES)
	$(BIN)/python -m tests.fuzzing.answers --count $(ANSWERS)

# Each operator, number and argument is replaced, one at a time; exits with 1 when a mutant survives without a listed reason.
mutation: $(VENV)/.mutation ## mutation testing of the parts that keep the promises
	$(BIN)/python -m tests.mutation

# In the suite 5,000 schedules.
model: $(VENV)/.dev ## 100,000 random schedules of the store protocol beside a model that predicts every answer
	$(BIN)/python -m tests.model --rounds 50000 --jobs 2

# Number of seeds; in the suite 2,000.
SEEDS ?= 20000
simulation: $(VENV)/.dev ## whole services in a world that kills, freezes, cuts and steals; SEEDS=20000
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs 2

replay: $(VENV)/.dev ## a million journal events replayed into a counting handler: rate and memory
	$(BIN)/python -m tests.rounds.replaying --events 1000000

mutants: $(VENV)/.dev ## take each rule of the protocol out and show the test that fails
	$(BIN)/python -m tests.mutants

promises: $(VENV)/.dev ## take the code of each promise away and show that every test named for it fails
	@$(BIN)/python -m tests.support.servers.debian
	$(BIN)/python -m tests.promises

# The base is a Debian made here; no container engine and no image registry is needed.
image-check: $(VENV)/.dev ## build the image with buildah and run it, as root on Debian or Ubuntu
	$(BIN)/python -m tests.rounds.image_check

format: $(VENV)/.dev ## fix what ruff can fix and format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

# Lock files hold hashes, never addresses.
lock: $(VENV)/.dev ## write the lock files again
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate pyproject.toml --group dev -c requirements.lock -o tests/requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate --group fuzz -o tests/fuzzing/requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --quiet --no-annotate --group mutation -c tests/requirements.lock -o tests/mutation/requirements.lock

clean: ## remove virtual environments and caches
	rm -rf $(VENV) .venv-3.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
