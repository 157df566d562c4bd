# Everything starts from a bare clone and Python 3.11 or newer; `make` prints what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUDY ?=
MINUTES ?= 5
PYTEST_ARGS ?=
export WANDB_ERROR_REPORTING ?= false

.DEFAULT_GOAL := help
.PHONY: help env demo test lint test-all fuzz servers report docs screenshot bench bench-short optuna-dashboard clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(VENV)/.complete ## the environment in .venv, at the tested versions

$(VENV)/.complete: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than Python 3.11; give another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: env ## built-in quad, one training run, its report (some minutes)
	$(BIN)/python -m img2gps.train study=demo image_size=112 logger=csv
	$(BIN)/img2gps report demo
	@echo "Open reports/demo/index.html"

lint: env ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: env lint ## linters and all tests that Python alone can run
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

servers: ## what the heavier tests need: PostgreSQL, Slurm, Chromium, exiftool (Debian, root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
	  postgresql slurm-wlm munge chromium fonts-dejavu-core libimage-exiftool-perl

test-all: servers env lint ## the same, with real servers and a browser (Debian, root); what CI runs
	IMG2GPS_TEST_ALL=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

fuzz: env ## damage photos at random and read them, for MINUTES=5
	$(BIN)/python -m tests.helpers.fuzz --minutes $(MINUTES)

report: env ## tables and figures of all studies, or of STUDY=a,b
	$(BIN)/img2gps report $(STUDY)

docs: env ## the documentation as pages that can be searched: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "Open site/index.html"

screenshot: env ## docs/report.png out of STUDY's report (needs chromium)
	$(BIN)/img2gps report $(STUDY)
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,1400 \
	  --screenshot=docs/report.png "file://$(CURDIR)/reports/$(STUDY)/index.html"

bench: env ## side by side timings, into docs/performance.md
	$(BIN)/python -m benchmarks

bench-short: env ## those of them that tell of training, in about eleven minutes
	$(BIN)/python -m benchmarks choice around
	$(BIN)/python -m benchmarks limit epoch --rounds 2

optuna-dashboard: env ## Optuna's own page on STUDY=name
	@test -f runs/$(STUDY)/ledger.journal || \
	  { echo "make: no runs/$(STUDY)/ledger.journal; give STUDY=name of a study that img2gps studies lists"; exit 2; }
	$(BIN)/optuna-dashboard runs/$(STUDY)/ledger.journal

clean: ## remove the environment and tools' caches; runs and reports stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist site
