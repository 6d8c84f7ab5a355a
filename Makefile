# One command each; `make` lists them.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
TOOLS := $(VENV)/.tools
ASAN := build/asan
FUZZ := build/fuzz
SECONDS ?= 600
TARGET ?= all
STARTERS := bench cli demo examples instructions man packaging pytest_plugin doc_examples recipes

# An ordinary user gets a user namespace, in which tests may make network namespaces, and one to come back to.
# Where that is forbidden, they skip and say so.
UNSHARE = $(shell test "$$(id -u)" = 0 || { unshare -Urn true && echo unshare -Urn; } 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help build demo kmod install-kmod test test-kmod test-kmod-debug guest lint lint-kmod format words man bench bench-gate soak \
	test-faults test-asan fuzz nightly clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

build: $(READY) ## Make .venv, install nlbus editable and compile what changed
	@$(PY) setup.py --quiet build_ext --inplace

# pip has --group since 25.1. The group has Cython and setuptools, hence no isolation.
$(READY): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "nlbus needs Python 3.11 or later: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
		{ rm -rf $(VENV); echo "no venv: install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	$(PY) -m pip install --quiet --group build
	$(PY) -m pip install --quiet --no-build-isolation --editable '.[cli]'
	@touch $@

# Tests, linters, and the readers and rivals that tests compare with.
$(TOOLS): $(READY)
	$(PY) -m pip install --quiet --group dev --group readers
	@touch $@

# KDIR: the kernel's headers, if not those of the running one.
kmod: ## Build nlbus.ko, in build/kmod/VERSION of the running kernel
	@mkdir -p build/kmod/$(shell uname -r) && cp -ru kmod/. build/kmod/$(shell uname -r)
	@$(MAKE) --no-print-directory -C build/kmod/$(shell uname -r) modules

install-kmod: ## Build and install it by DKMS, for later kernels too (as root)
	@$(MAKE) --no-print-directory -C kmod install

demo: build ## See it work: kernel events as arrays, then the bus at full rate
	@$(VENV)/bin/nlbus demo

test: build $(TOOLS) ## Unit, property and real-kernel tests, and those of the kernel module in guests
	$(UNSHARE) $(PY) -m pytest
	$(PY) -m tests.lab test --or-skip

# KERNEL: a series of Debian's, several, or "debug"; ARGS: pytest's.
test-kmod: build $(TOOLS) ## The kernel module in guests: make test-kmod KERNEL=6.12 ARGS=-x
	$(PY) -m tests.lab test $(KERNEL:%=--kernel=%) $(ARGS)

test-kmod-debug: build $(TOOLS) ## The same on a kernel that accuses: KASAN, lockdep, kmemleak, failslab; lines that ran
	$(PY) -m tests.lab test --kernel=debug --timeout=5400 $(ARGS)

lint-kmod: build ## sparse, W=1, checkpatch --strict and coccinelle on the kernel module
	$(PY) -m tests.lab lint $(KERNEL:%=--kernel=%)

guest: build ## One command, nlbus.ko being loaded: make guest CMD='nlbus sources' KERNEL=6.1
	@$(PY) -m tests.lab run $(KERNEL:%=--kernel=%) sh -c "$${CMD:-exec bash}"

lint: build $(TOOLS) ## ruff, mypy --strict, stubtest of the compiled modules, cython-lint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m mypy.stubtest nlbus._core nlbus._wire
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint nlbus

format: build $(TOOLS) ## Put layout and imports right
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

words: build ## The words of shell completion, after a change of sources, groups, tables or columns
	@$(PY) -m tests.support.completion_words

man: build ## Manual pages, in build/man: man -l build/man/nlbus-listen.1
	@$(PY) -m nlbus.cli.man build/man

bench: build $(TOOLS) ## Speed: pytest-benchmark, and the C floors beside it
	$(UNSHARE) $(PY) -m pytest bench

# Counted, not timed: it may run beside anything. RENEW=1 writes bench/instructions/baseline.json anew.
bench-gate: build ## Instructions of the hot loops, beside the committed baseline
	@$(UNSHARE) $(PY) bench/instructions/gate.py $(if $(RENEW),--renew)

soak: build $(TOOLS) ## The long rounds of the loss ledger; NLBUS_LINUX=source compares all YNL specs of a kernel
	$(UNSHARE) $(PY) -m pytest -m soak

test-faults: build ## Every system call and allocation of the compiled modules fails once
	$(UNSHARE) $(PY) -m pytest -m 'soak or not soak' tests/kernel/core/test_fault_injection.py

# A tree of its own, so that instrumented and ordinary modules never mix. The tests measure memory, so the quarantine
# is small. They provoke SIGSEGV and handle it themselves.
# Tests that mostly start programs are left out: they take long, and other tests cover the same code.
test-asan: build $(TOOLS) ## Unit and kernel tests under ASan and UBSan
	@mkdir -p $(ASAN) && rm -rf $(ASAN)/tests
	@tar -c --exclude-vcs --exclude=./build --exclude=./.venv --exclude=./.pytest_tmp --exclude='*.so' --exclude=__pycache__ . | \
		tar -x -C $(ASAN)
	cd $(ASAN) && NLBUS_SANITIZE=1 ../../$(PY) setup.py --quiet build_ext --inplace
	cd $(ASAN) && $(UNSHARE) env \
		LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:handle_segv=0:quarantine_size_mb=1 \
		UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 PYTHONMALLOC=malloc \
		../../$(PY) -m pytest $(STARTERS:%=--ignore-glob='*/test_%*.py') \
		tests/sanitize/instrumented.py tests/unit tests/kernel

# clang counts edges of the compiled modules, atheris those of Python. Its runtime is preloaded: no other is linked.
$(FUZZ)/packages/.ready: pyproject.toml
	@mkdir -p $(@D) && $(PY) -m pip install --quiet --upgrade --target $(@D) --group fuzz
	@touch $@

# TARGET: some of tests/fuzz/targets.py, or all; SECONDS: of all together.
fuzz: build $(TOOLS) $(FUZZ)/packages/.ready ## Coverage-guided fuzzing: make fuzz SECONDS=600 TARGET="route bus"
	@mkdir -p $(FUZZ)/tree && rm -rf $(FUZZ)/tree/tests
	@tar -c --exclude-vcs --exclude=./build --exclude=./.venv --exclude=./.pytest_tmp --exclude='*.so' --exclude=__pycache__ . | \
		tar -x -C $(FUZZ)/tree
	cd $(FUZZ)/tree && CC="clang -fsanitize=address,fuzzer-no-link -fno-omit-frame-pointer -g1" LDSHARED="clang -shared" \
		../../../$(PY) setup.py --quiet build_ext --inplace >build.log 2>&1 || { cat build.log >&2; exit 1; }
	cd $(FUZZ)/tree && OPENBLAS_NUM_THREADS=1 PYTHONPATH="$$PWD:$$PWD/../packages" \
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=16 \
		LD_PRELOAD="$$PWD/../packages/asan_with_fuzzer.so" \
		../../../$(PY) -m tests.fuzz $(TARGET) --seconds $(SECONDS) --to ..

nightly: ## The long proofs: every fault, ten minutes of fuzzing, the ledger's rounds
	@$(MAKE) --no-print-directory test-faults
	@$(MAKE) --no-print-directory fuzz SECONDS=600
	@$(MAKE) --no-print-directory soak

clean: ## Remove everything that was made here, .venv included
	rm -rf $(VENV) build dist .pytest_tmp *.egg-info .*_cache .hypothesis .benchmarks
	find nlbus -name '*.so' -delete
	find . -name __pycache__ -prune -exec rm -rf {} +
