# `make demo` and `make test` set up .venv first, from pyproject.toml; so do `make test-all`, `make coverage` and `make docs`.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable
PYTEST := $(BIN)/pytest -q --numprocesses 2 --dist worksteal
# Without compiled files each worker, and each program that a test starts, would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all coverage test-browser lint docs

demo: .venv/.installed
	$(BIN)/jointadapt demo

test: lint
	$(PYTEST) -m "not slow and not browser"

test-all: lint
	$(PYTEST)

# Lines and branches of src that the tests of `make test` run.
coverage: .venv/.installed
	$(PYTEST) -m "not slow and not browser" --cov --cov-report term

# Pages in a headless Chromium: those of runs, and those of the site where `make docs` has built it.
test-browser: .venv/.installed
	$(PYTEST) -m browser

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/.installed-docs
	JOINTADAPT_CACHE=$(CURDIR)/docs/_build/cache OMP_NUM_THREADS=1 \
		$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --builder html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html
	@echo "The site is docs/_build/html/index.html"

.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(INSTALL) '.[dev]'
	touch $@

.venv/.installed-docs: .venv/.installed
	$(INSTALL) '.[docs]'
	touch $@
