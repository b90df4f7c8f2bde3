# Every target works in the checkout's own .venv; nothing is installed outside it and no root is needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   ?= var/demo
T      ?= tests
# Where a ledger is written or read; the rest does not know of stores.
ON_BOTH := tests/api tests/completeness tests/erasure tests/incidents tests/notifiers tests/recovery \
	tests/ledger/test_application.py tests/ledger/test_crash.py tests/ledger/test_ingest.py \
	tests/ledger/test_sequencer.py tests/ledger/test_vault.py

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup ## Run the main job end to end on invented people: breach in, told people and a verifiable file out
	$(BIN)/tocsin demo --data $(DEMO) --fresh

.PHONY: test
test: setup-dev ## Run the tests (T=path to run some)
	$(BIN)/pytest -n auto --dist loadgroup $(T)

.PHONY: test-postgres
test-postgres: setup-dev ## Run the tests with every ledger in a PostgreSQL server (T=path to run some)
	TOCSIN_TEST_STORE=postgres $(BIN)/pytest -n auto --dist loadgroup -m "not sqlite" $(if $(filter tests,$(T)),$(ON_BOTH),$(T))

.PHONY: setup
setup: $(VENV)/.installed ## Install Tocsin into .venv from the locked, hashed requirements

.PHONY: setup-dev
setup-dev: $(VENV)/.installed-dev ## The same with the tools for tests, lint and types

.PHONY: lint
lint: setup-dev ## Lint, format check, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: types
types: setup-dev ## Strict type check
	$(BIN)/mypy

.PHONY: format
format: setup-dev ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: lock
lock: ## Recompute both lock files (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --extra build --extra postgres \
		pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --extra build --extra dev \
		pyproject.toml -o requirements-dev.lock

.PHONY: clean
clean: ## Remove .venv, caches and what the demo made
	rm -rf $(VENV) build dist var .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Tocsin needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "The venv module is missing; on Debian: apt install python3-venv"; exit 1; }

$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
