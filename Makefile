# One command each; `make` lists them.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
ASAN := build/asan

# An ordinary user gets a user namespace, in which tests may make network namespaces of their own.
# Where that is forbidden, they skip and say so.
UNSHARE = $(shell test "$$(id -u)" = 0 || { unshare -Urn true && echo unshare -Ur; } 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help build demo test lint bench soak test-asan clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

build: $(READY) ## Make .venv, install nlbus editable and compile what changed
	@$(PY) setup.py --quiet build_ext --inplace --parallel $$(nproc)

# pip learnt --group in 25.1. Cython and setuptools are of the group, hence no isolation.
$(READY): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "nlbus needs Python 3.11 or later: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
		{ rm -rf $(VENV); echo "no venv: install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	$(PY) -m pip install --quiet --group dev
	$(PY) -m pip install --quiet --no-build-isolation --editable '.[cli]'
	@touch $@

demo: build ## See it work: kernel events as arrays, then the bus at full rate
	@$(VENV)/bin/nlbus demo

test: build ## Unit, property and real-kernel tests
	$(UNSHARE) $(PY) -m pytest

lint: build ## ruff, mypy --strict, stubtest, cython-lint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m mypy.stubtest nlbus
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint nlbus

clean: ## Remove whatever was made here, .venv too
	rm -rf $(VENV) build dist *.egg-info .*_cache .hypothesis .benchmarks
	find nlbus \( -name '*.so' -o -name '*.c' -o -name '*.html' \) -delete
	find . -name __pycache__ -prune -exec rm -rf {} +
