# make race     set up and run the main job: race ten optimizers on digits, train with the winner, write the report
# make test     set up and run every check (about five minutes on two cores)
# make test-all the same and the long checks
# make test-gpu everything that needs a CUDA device, in one call
# make test-hosts steepest in Accelerate, Lightning, skorch, Transformers: an environment for each (about 15 minutes)
# Real data for tests and benchmarks are found through STEEPEST_DATA; what is skipped without it is said.

# the first of these that is at least 3.11; name another with make PYTHON=...
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: race test test-all test-gpu test-hosts lint clean

race: $(VENV)/installed
	$(BIN)/steepest race digits

test: $(VENV)/installed-test lint
	$(BIN)/python -m pytest -q -m "not slow and not gpu" -ra

test-all: $(VENV)/installed-test lint
	$(BIN)/python -m pytest -q -m "not gpu" -ra

test-gpu: $(VENV)/installed-test
	$(BIN)/python -m pytest -q -m gpu -ra
	$(BIN)/python -m benchmarks.gpu

test-hosts: $(VENV)/bin/python
	$(BIN)/python tests/hosts/run.py $(HOSTS)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "steepest needs Python 3.11 or later on the PATH (or: make PYTHON=...)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	@echo "installing steepest and what it needs into $(VENV) (PyTorch is large: some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/bin/python pyproject.toml
	@echo "installing steepest and what its tests need into $(VENV) (PyTorch is large: some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) .steepest build dist .pytest_cache .ruff_cache .hypothesis
