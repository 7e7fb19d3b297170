# The two commands a newcomer needs are `make studio` and `make test`; `make help` lists the rest.
SHELL := /bin/sh
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup studio test test-fast coverage lint types contracts bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything in it

# Exact versions stand once, in pyproject.toml ([tool.uv] constraint-dependencies); pip is handed the
# same list. torch comes first and by exact version, so that pip can take a CPU wheel that is at hand.
# audiocraft comes last and without its dependencies: its pins exclude every current torch.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import tomllib; print('\n'.join(tomllib.load(open('pyproject.toml', 'rb'))['tool']['uv']['constraint-dependencies']))" > $(VENV)/constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c $(VENV)/constraints.txt torch==2.13.0
	$(BIN)/pip install -q --disable-pip-version-check -c $(VENV)/constraints.txt -e '.[dev,generation,house,mcp,ray,receipts,server]'
	$(BIN)/pip install -q --disable-pip-version-check --no-deps audiocraft==1.3.0
	touch $(READY)

studio: $(READY) ## set up and serve the page on http://127.0.0.1:7860
	$(BIN)/studio serve

# A process more than there are cores, since many tests wait, four at most, and one thread in each;
# all tests of a file run in one process.
PARALLEL := -n $(shell n=$$(OMP_NUM_THREADS= nproc 2>/dev/null || echo 2); [ $$n -lt 3 ] && echo $$((n + 1)) || echo 4) --dist loadfile

test: $(READY) ## set up and run every test
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL)

# Unit tests without those marked slow, and without the examples: what to run while you work.
test-fast: $(READY) ## the quick part of the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL) -m "not slow" -o addopts="-q -rs --strict-markers --strict-config -p no:cacheprovider" tests/unit

coverage: $(READY) ## the quick part of the tests, and how many lines they reach
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL) -m "not slow" -o addopts="-q -rs --strict-markers --strict-config -p no:cacheprovider" --cov=studio --cov=watermark --cov-report=term:skip-covered tests/unit

lint: $(READY) contracts types ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports

bench: $(READY) ## detection rates of the seal under attacks, on the golden clips
	$(BIN)/watermark bench --out report

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis report .coverage
