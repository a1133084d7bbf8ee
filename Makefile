# make book   build the book: environment, every notebook run afresh, HTML in _build/html
# make test   check the package, the notebooks and, in a browser, the pages of the built book
# make address URL=https://github.com/you/name   set the address of a fork, everywhere where it stands
# Both make their own virtual environment in .venv first; PYTHON=python3.12 picks another Python for it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# How many processes share the tests; each takes about a gigabyte of memory.
WORKERS ?= 2

# Every page of the built book in a browser: that of `make book`, else one built from the committed outputs.
# Where there is none and none can be installed, these tests are skipped; where CI is set, they fail.
PAGES = .ci/browser; $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadgroup tests/pages

# On a busy machine OpenMP's threads spin while they wait for each other, and everything crawls.
export OMP_WAIT_POLICY = PASSIVE
export OMP_NUM_THREADS ?= 1

.PHONY: help book test pages types address lint clean

help:
	@sed -n '1,4s/^# //p' Makefile

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[book,test]"
	@touch $@

# Warnings are errors, and so is a cell that fails. Progress bars would clutter the pages.
book: $(READY)
	TQDM_DISABLE=1 $(BIN)/jupyter-book build --all -W -n --keep-going .

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/typos
	$(BIN)/mypy
	TQDM_DISABLE= $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal --ignore tests/pages tests
	$(PAGES)
	TQDM_DISABLE=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --nbval-lax \
	  --nbval-current-env --nbval-cell-timeout=300 book

# Only the pages of the built book, in a browser.
pages: $(READY)
	$(PAGES)

# A part of `make test`: most of a minute the first time, seconds when little has changed.
types: $(READY)
	$(BIN)/mypy

# The repository's address, everywhere where it stands: make address URL=https://github.com/you/name
address:
	@$(PYTHON) tools/address.py $(URL)

lint: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf _build $(VENV)
