# The two commands: `make demo` shows backy at work, `make test` tests it. Both need python3, git and make only.
# All paths are relative, so that a clone may lie in a folder with a space in its name.

PYTHON := .venv/bin/python
SOURCES := backy_core plugins tests
PYTEST_ARGS ?= -n 2

.PHONY: help demo test lint format types imports bench check clean venv

help:
	@echo 'make demo     back up, change, restore and compare a real ext4 image, in a minute'
	@echo 'make test     run all tests; PYTEST_ARGS="-k words" runs some'
	@echo 'make lint     ruff: style and mistakes;  make format mends what it can'
	@echo 'make types    mypy --strict'
	@echo 'make imports  import-linter: who may import whom'
	@echo 'make bench    measure beside the other programs that are installed; takes its time'
	@echo 'make check    everything that continuous integration runs'
	@echo 'make clean    remove .venv and caches'

# Repeated only when a pyproject.toml changed.
venv:
	@bash scripts/bootstrap

demo: venv
	@bash scripts/demo

test: venv
	$(PYTHON) -m pytest $(PYTEST_ARGS)

lint: venv
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m ruff format --check $(SOURCES)

format: venv
	$(PYTHON) -m ruff check --fix $(SOURCES)
	$(PYTHON) -m ruff format $(SOURCES)

types: venv
	$(PYTHON) -m mypy --strict backy_core plugins/*/src

imports: venv
	$(PYTHON) -c 'import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())'

bench: venv
	$(PYTHON) tests/bench/bench.py

check:
	@bash .ci/run

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
