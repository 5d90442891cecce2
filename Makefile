# Two commands on a fresh machine: `make demo` and `make test`. All targets make .venv first if it is not there.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
# Where a CPU build of torch is wanted: make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt

# `make quick` leaves these out: folders, files or single tests that take more than two seconds, or load a model.
SLOW := examples/ torture/ test_index_texts.py prefilter/test_bad_input.py prefilter/test_contract.py prefilter/test_learned.py \
	$(addprefix store/test_, bulk.py compaction.py) \
	$(addprefix encoders/test_, checkpoint.py embedded.py packed_bert.py sentence_transformer.py) \
	$(addprefix benchmarks/test_, calibration.py contest.py corpora.py durability.py kernels.py lexical.py pareto.py \
		smoke.py workloads.py) \
	kernels/runtime/test_cold_start.py kernels/runtime/test_tiers.py kernels/scoring/test_guard_pages.py \
	kernels/layout/test_quantize.py::test_codes_are_the_same_without_this_cpus_instructions \
	kernels/scoring/test_maxsim_codes.py::test_documents_of_several_segments_score_as_in_their_own

.PHONY: demo demo-large quick lint format types test test-kernels test-system torture docs clean

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[test,bench]'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) -e '.[docs]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/python -m examples.demo

demo-large: $(VENV)/installed
	$(BIN)/python -m examples.demo --large

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/installed
	$(BIN)/mypy

# At most 90 seconds on two cores.
quick: lint types
	$(BIN)/python -m pytest -q -n 2 -m "not system" $(addprefix --deselect=tests/, $(SLOW))

test: lint types
	$(BIN)/python -m pytest -n 2 -m "not system"

# The part that needs no POSIX system.
test-kernels: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 -m "not system" tests/kernels

# What needs more than `make test`: the GPU kernel in Triton's interpreter, MTEB, and the right to mount a disk of 2 MB.
test-system: $(VENV)/installed
	$(PIP) -e '.[gpu,mteb]'
	$(BIN)/python -m pytest -m system

# Hours: the long form of the torture tests; it can be resumed.
torture: $(VENV)/installed
	$(BIN)/python -m tests.torture --full

# The site in build/docs; a warning or a broken link is an error.
docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -W --keep-going -q -c docs/site -d build/doctrees . build/docs
	@echo "build/docs/index.html is the first page"

clean:
	rm -rf $(VENV) demo build dist
