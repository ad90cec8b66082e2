# Two commands: `make demo` and `make test`. Both set up .venv first, from pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test docs

docs: .venv/.installed-docs
	JOINTADAPT_CACHE=$(CURDIR)/docs/_build/cache OMP_NUM_THREADS=1 \
		$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --builder html docs docs/_build/html
	$(BIN)/linkchecker --no-status --no-warnings docs/_build/html/index.html
	@echo "The site is docs/_build/html/index.html"

demo: .venv/.installed
	$(BIN)/jointadapt demo

test: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pytest -q --numprocesses 2

.venv/.installed-docs: .venv/.installed
	PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[docs]'
	touch $@

.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[dev]'
	touch $@
