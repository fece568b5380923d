# Everything happens in .venv, made with the standard venv and pip. PYTHON names the interpreter to make it with.
PYTHON ?= python3
SOAK_RUNS ?= 500
SOAK_SEED ?= 1
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo up test test-quick soak lint bench clean

demo: $(INSTALLED)  ## Load a made-up market, run a real backtest through Dagster, print the result.
	$(BIN)/lab demo

up: $(INSTALLED)  ## Run the Dagster UI and everything behind it.
	$(BIN)/lab up

test: $(INSTALLED) lint  ## Lint, type-check and run every test.
	$(BIN)/python -m pytest -n auto

test-quick: $(INSTALLED)  ## The tests that take no more than a few seconds each.
	$(BIN)/python -m pytest -n auto -m "not slow"

soak: $(INSTALLED)  ## Hundreds of backtests while every process is killed at random; then everything is counted.
	LAB_SOAK_RUNS=$(SOAK_RUNS) LAB_SOAK_SEED=$(SOAK_SEED) $(BIN)/python -m pytest lab_pipeline_tests/soak -o log_cli=true --log-cli-level=INFO

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)  ## Every speed the project claims, beside its peer.
	$(BIN)/python -m benchmarks

clean:  ## Remove the environment and caches; LAB_HOME stays.
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,embedded,dask,postgres]'
	touch $@
