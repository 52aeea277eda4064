# Everything runs from a fresh clone: the first target that needs it makes .venv and installs into it.

PYTHON ?= $(shell for p in python3.12 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers

# The tests share the cores among two workers, one thread each, and draw nothing on a screen.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MPLBACKEND=Agg
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint docs-test bench analysis clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP)  ## make .venv and install the package with its development tools

demo: $(STAMP)  ## fit models/vae.py on the bundled digits; the tree and report.html go to runs/demo
	$(BIN)/pyrovae fit models/vae.py --data digits --out runs/demo --overwrite

test: $(STAMP)  ## run the tests
	$(PYTEST) -n 2 --dist loadfile -q

lint: $(STAMP)  ## ruff, its formatter, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs-test: $(STAMP)  ## run the examples in docstrings, each from the tests' seed, in README.md and in docs/
	$(PYTEST) -p tests.conftest --doctest-modules pyrovae -q
	$(PYTEST) tests/test_readme.py -q

bench: $(STAMP) $(PEERS)/.installed  ## time training beside the peers, and each part and weighted objective beside plain torch
	$(BIN)/python benchmarks/train_step.py --json runs/bench/train_step.json
	$(BIN)/python benchmarks/whole_fit.py --json runs/bench/whole_fit.json
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/parts.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/objectives.py

analysis: $(STAMP)  ## run every analysis, two at a time, with the quick settings of the longest; tables and figures go to runs/analysis
	$(BIN)/python -m analysis --out runs/analysis

clean:  ## remove .venv, .venv-peers, runs, builds and caches
	rm -rf $(VENV) $(PEERS) runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e ".[dev]"
	@touch $@

$(PEERS)/.installed: | $(STAMP)
	$(BIN)/python -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install "jax[cpu]" numpyro pythae torch
	@touch $@

$(BIN)/python:
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
		echo "pyrovae needs Python 3.12 or newer; $(if $(PYTHON),'$(PYTHON)' is not one,found none as python3.12 or python3)." >&2; \
		echo "Install one, or name one you have: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
		exit 1; \
	fi
	@"$(PYTHON)" -m venv --clear $(VENV) || { \
		echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; \
		rm -rf $(VENV); exit 1; }
