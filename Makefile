# `make` lists the targets. PYTHON is the interpreter that .venv is made from: make PYTHON=python3.12 test
PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
BENCH ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS := dev,test,bench
C_SOURCES := $(shell find native -name '*.[ch]')
C_FORMATTED := $(C_SOURCES) $(wildcard benchmarks/*.c tests/native/*.c tests/preload/*.c)
PY_CHECKED := setup.py archipmigrate tests $(wildcard benchmarks/*.py)

# Where it is set, each of the thousands of processes of the tests would compile the program anew.
export PYTHONDONTWRITEBYTECODE =

# Every target works in the same .venv: one after another, also under make -j.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-long fuzz bench check format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(INSTALLED) ## make .venv with everything in it (only if something changed)

# Make a venv and install this tree in it: $(1) the venv, $(2) the extras.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo '$(PYTHON): Python 3.11 or newer is needed; choose one by make PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	    { echo '$(PYTHON) cannot make a venv: on Debian, apt-get install python3-venv' >&2; exit 1; }
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1)
	@rm -f archipmigrate/_native.*.so archipmigrate/_nfs.*.so
	$(1)/bin/python -m pip install --quiet --editable '.[$(2)]'
	@$(1)/bin/python -m compileall -q archipmigrate # as pip does where it installs a copy
	@$(1)/bin/python -c 'import archipmigrate._native' 2>/dev/null || \
	    { echo 'No C extension, the slower Python twin works. On Debian it needs gcc, libc6-dev, python3-dev;' >&2; \
	      echo 'what the compiler said: $(1)/bin/pip install --verbose --editable .' >&2; }
	@touch $@
endef

# The old extension goes first: a new one that fails to compile must not leave it in use.
$(INSTALLED): pyproject.toml setup.py $(C_SOURCES)
	$(call install,$(VENV),$(EXTRAS))

# What a user installs; the .venv of those who have it already does, too.
DEMO_VENV := $(if $(wildcard $(INSTALLED)),$(VENV),build/demo)
build/demo/.installed: pyproject.toml setup.py $(C_SOURCES)
	@echo 'Making build/demo, a venv with archipmigrate, trio, tqdm, xxhash and ConfigUpdater.'
	$(call install,build/demo,config)

demo: $(DEMO_VENV)/.installed ## make a sample share of v0.3, bring it to v0.4, and back
	@PATH="$(abspath $(DEMO_VENV))/bin:$$PATH" benchmarks/demo.sh

# One more at a time than two CPUs: some tests wait for seconds, for a mount or a server. None beside those that are
# marked `alone`. To see what one prints: PYTEST_ARGS='-n 0 -s -k ...'
# tests/README.md says what the targets leave out.
test: setup ## run the tests (minutes)
	$(BIN)/python -m pytest -n 3 --dist worksteal $(if $(EXHAUSTIVE),,--thinned) $(PYTEST_ARGS)

test-all: EXHAUSTIVE = 1
test-all: test ## run the tests in all variants, with a kill at every call, not at every third

test-long: setup ## run the tests that take many minutes
	$(BIN)/python -m pytest -m long $(PYTEST_ARGS)

fuzz: setup ## fuzz the NFS client for 10 minutes; what is new goes into the corpus
	@echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | \
	    clang -x c -fsanitize=fuzzer,address,undefined -o /dev/null - 2>/dev/null || \
	    { echo 'No clang with libFuzzer. On Debian 12: apt-get install clang libclang-rt-14-dev' >&2; exit 1; }
	$(BIN)/python -m tests.fuzz.fuzz 600

# Says first how long it takes. Parts: make bench BENCH='ext4-filed-50k growth'; all that there are: BENCH=--list
bench: setup ## run the benchmarks (hours), or a part: make bench BENCH=growth-10k
	$(BIN)/python -m benchmarks $(BENCH)

check: setup ## lint, formatting, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict $(PY_CHECKED)
	$(if $(C_FORMATTED),$(BIN)/clang-format --dry-run -Werror $(C_FORMATTED))

format: setup ## format Python and C, mend what the linter can
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format
	$(if $(C_FORMATTED),$(BIN)/clang-format -i $(C_FORMATTED))

clean: ## remove everything that was built, .venv too
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	rm -f archipmigrate/_native.*.so archipmigrate/_nfs.*.so
	find archipmigrate tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
