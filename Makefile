# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv first if it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where a CPU build of torch is wanted: make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=

.PHONY: demo demo-large test test-system clean

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[test,bench]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/python -m examples.demo

demo-large: $(VENV)/installed
	$(BIN)/python -m examples.demo --large

test: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 -m "not system"

# What needs more than `make test`: the GPU kernel in Triton's interpreter, MTEB, and the right to mount a disk of 2 MB.
test-system: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[gpu,mteb]'
	$(BIN)/python -m pytest -m system

clean:
	rm -rf $(VENV) demo build dist
