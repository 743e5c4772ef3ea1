# SPDX-License-Identifier: GPL-2.0-or-later
# `make demo` and `make test` do everything, from setting up a virtual environment on. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ISAS := x86_64 arm64 ppc64
PYTEST_ARGS ?= -n auto --dist worksteal
CORE_SOURCES := cffi_build.py $(wildcard vmemu/*/src/*.[ch]) $(wildcard vmemu/*/*/src/*.[ch]) $(wildcard vmemu/isa/*.py) $(wildcard vmemu/isa/*/*.py)

.PHONY: help demo test test-all lint images check-images sanitize wheel-check clean
help:
	@echo "make demo          boot all three guests with a quarter of the memory they use"
	@echo "make test          the tests; make test-all also runs the slow ones"
	@echo "make sanitize      the C unit's tests under ASan and UBSan"
	@echo "make lint          ruff and mypy --strict"
	@echo "make images        build the guest images; make check-images compares them with the committed ones"
	@echo "make wheel-check   build the wheel and use it outside the checkout"

$(VENV)/.run: pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vmemu needs Python 3.11 or newer; set PYTHON="; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' \
		|| { echo "Python.h is missing: apt-get install python3-dev"; exit 1; }
	@command -v gcc >/dev/null || { echo "gcc is missing: apt-get install gcc"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check 'setuptools>=68' -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

$(VENV)/.core: $(CORE_SOURCES) | $(VENV)/.run
	$(BIN)/python -W ignore cffi_build.py
	@touch $@

demo: $(VENV)/.core
	@mkdir -p build
	@set -e; for isa in $(ISAS); do \
		run="boot walk --isa $$isa -m 64M --resident 8M --store file:build/demo.swap --json build/demo-$$isa.json"; \
		echo; echo "\$$ vmemu $$run --append 'pages=8192 passes=2'"; \
		$(BIN)/vmemu $$run --append 'pages=8192 passes=2'; \
		$(BIN)/python tools/demo_line.py build/demo-$$isa.json; done

test: $(VENV)/.dev $(VENV)/.core
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-all: $(VENV)/.dev $(VENV)/.core
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m ''

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

images: $(VENV)/.dev
	$(BIN)/python guest_images/build.py

check-images: $(VENV)/.dev
	$(BIN)/python guest_images/build.py --check

sanitize: $(VENV)/.dev
	PYTHON=$(CURDIR)/$(BIN)/python tools/sanitize.sh

wheel-check: $(VENV)/.dev
	PYTHON=$(CURDIR)/$(BIN)/python tools/wheel_check.sh

clean:
	rm -rf build dist .venv *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find vmemu -name '*.so' -delete
