# make setup | eval | test | test-all | lint | check        everything is installed into .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN := .venv/bin/python

.PHONY: setup eval test test-all lint check

setup: .venv/installed
	@$(RUN) scripts/doctor.py --gl || sh scripts/install_gl.sh

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v[:2] != (3, 11) and f"setup: needs Python 3.11, got {v[0]}.{v[1]}; type: make setup PYTHON=/path/to/python3.11")'
	@echo "Installing into .venv: several minutes the first time."
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

eval: setup
	$(RUN) scripts/eval.py $(ARGS)

test: setup
	$(RUN) -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-all: setup
	$(RUN) -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m '' $(ARGS)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

check: lint test
