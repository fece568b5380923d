# Everything happens in .venv. uv fills it, one that is on the path or else one from the index; where uv fails, pip does.
# PYTHON names the interpreter to make it with.
PYTHON ?= python3
SOAK_RUNS ?= 500
SOAK_SEED ?= 1
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n auto --durations=20
RUNTIME := .venv/.runtime
DEVELOPMENT := .venv/.development

# Every process of the tests would compile the lab anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo up test test-all test-quick soak lint style bench docs pictures clean

demo: $(RUNTIME)  ## Load a made-up market, run a real backtest through Dagster, print the result.
	$(BIN)/lab demo

up: $(RUNTIME)  ## Run the Dagster UI and everything behind it.
	$(BIN)/lab up

test: $(DEVELOPMENT) style  ## Lint, type-check and run what proves the behaviour of every part.
	$(PYTEST) -m "not long"

test-all: $(DEVELOPMENT) style  ## All of that, and what takes its time: kills by the dozen, full disks, Postgres, Dask, a browser, soak.
	$(PYTEST) --hypothesis-profile=thorough

test-quick: $(DEVELOPMENT)  ## The tests that take no more than a few seconds each.
	$(PYTEST) --hypothesis-profile=quick -m "not slow and not long"

soak: $(DEVELOPMENT)  ## Hundreds of backtests while every process is killed at random; then everything is counted.
	LAB_SOAK_RUNS=$(SOAK_RUNS) LAB_SOAK_SEED=$(SOAK_SEED) $(BIN)/python -m pytest lab_pipeline_tests/soak -o log_cli=true --log-cli-level=INFO

lint: style
	$(BIN)/mypy

style: $(DEVELOPMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(DEVELOPMENT)  ## Every speed the project claims, beside its peer.
	$(BIN)/python -m benchmarks

docs: $(DEVELOPMENT)  ## Write the reference pages, docs/cli.md and docs/settings.md, and docs/pictures from the code.
	$(BIN)/python -m lab_pipeline_tests.support.reference

pictures: $(DEVELOPMENT)  ## Take docs/answer.png, report.png, sweep.png and sweep-space.jpg of the demo, with a Chromium of the system, and write down what they say.
	$(BIN)/python -m lab_pipeline_tests.support.screenshots

clean:  ## Remove the environment and caches; LAB_HOME stays.
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(RUNTIME): EXTRAS := embedded
$(RUNTIME): pyproject.toml constraints.txt  ## What a lab needs to run.
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(install)

$(DEVELOPMENT): EXTRAS := dev,embedded,dask,postgres
$(DEVELOPMENT): $(RUNTIME)  ## What its tests, benchmarks and optional parts need, too.
	$(install)

define install
	@PATH="$$PATH:$(BIN)" && \
	  { command -v uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv; } >/dev/null && \
	  uv pip install --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[$(EXTRAS)]' || \
	  $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@
endef
