# Two commands for newcomers: `make demo` and `make test`. `make help` lists the rest.
# Setup goes into .venv/ and happens automatically; PYTHON selects the interpreter (3.11 or newer).

PYTHON ?= python3
VENV := .venv
GPU_VENV := .venv-gpu
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo up test proof gpu lint check format docs pictures browser-tools clean
export PYTHONDONTWRITEBYTECODE := 1

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## Set up, then run one whole round that you can watch (ARGS="--rounds 3 --exit": three, then exit)
	@$(BIN)/attune demo $(ARGS)

up: $(VENV)/.installed ## Run the web application and a worker
	@$(BIN)/attune up $(ARGS)

test: $(VENV)/.installed-dev ## Set up, then run the tests (ARGS="-k queue" selects some)
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not slow" $(ARGS)

proof: $(VENV)/.installed-dev ## Measure what Attune promises under faults and load (ARGS=--long: in full; ARGS="lost jobs": some rows)
	@$(BIN)/python -m tests.faults.proof $(ARGS)

gpu: ## On a machine with a GPU and its own torch: run the tests and benches that need one (WHEELS=folder: what it lacks)
	@$(PYTHON) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null \
		|| { echo "make gpu needs a torch in $(PYTHON) that finds a CUDA device (PYTHON=… selects another)"; exit 1; }
	@test -x $(GPU_VENV)/bin/python || $(PYTHON) -m venv --system-site-packages $(GPU_VENV)
	@$(GPU_VENV)/bin/python -m pip --disable-pip-version-check --quiet install $(if $(WHEELS),--no-index --find-links $(WHEELS) --no-build-isolation) \
		--editable '.[worker]' pytest hypothesis setuptools
	@$(GPU_VENV)/bin/python -m pytest -q -m gpu tests/worker
	@$(GPU_VENV)/bin/attune bench learning --gpu $(ARGS)

lint: $(VENV)/.installed-dev ## Check formatting, lint, types, import contracts and templates
	@$(BIN)/ruff format --quiet --check . && echo "format     ok"
	@$(BIN)/ruff check --quiet . && echo "lint       ok"
	@$(BIN)/mypy --no-error-summary && echo "types      ok"
	@$(BIN)/lint-imports --no-logo > .lint-imports.log 2>&1 || { cat .lint-imports.log; exit 1; }
	@rm -f .lint-imports.log; echo "imports    ok"
	@$(BIN)/djlint --quiet --lint templates && echo "templates  ok"

check: lint test ## Run lint, then test

format: $(VENV)/.installed-dev ## Format the sources and fix what lint can fix
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

docs: $(VENV)/.installed-docs ## Build the documentation site strictly, into build/docs/index.html
	@$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/doctrees docs build/docs && echo "documentation  build/docs/index.html"

pictures: $(VENV)/.installed-dev ## Make the pictures of the README and the documentation again
	@$(BIN)/python -m tests.browser.pictures $(ARGS)

browser-tools: ## Install the tools of the accessibility tests from package-lock.json
	@npm ci --ignore-scripts --no-audit --no-fund --silent

clean: ## Remove the virtual environment and caches, but no data (.attune/)
	@rm -rf $(VENV) $(GPU_VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || { $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Attune needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }; \
		$(PYTHON) -m venv $(VENV); }
	@echo "Installing Attune into $(VENV) (once; torch is the large part) …"
	@$(PIP) --editable '.[worker,postgres]' 2>&1 | { grep -Ev '^WARNING: Location|^$$' || true; }
	@$(BIN)/python -c 'import app, torch'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the development tools …"
	@$(PIP) --editable '.[worker,postgres,oidc,dev]' 2>&1 | { grep -Ev '^WARNING: Location|^$$' || true; }
	@$(BIN)/python -c 'import pytest'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@echo "Installing the tools of the documentation …"
	@$(PIP) --editable '.[docs]' 2>&1 | { grep -Ev '^WARNING: Location|^$$' || true; }
	@$(BIN)/python -c 'import furo, myst_parser, sphinx'
	@touch $@
