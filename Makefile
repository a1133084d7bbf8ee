# make book   build the book: environment, every notebook run afresh, HTML in _build/html
# make test   check the package and the notebooks
# Both make their own virtual environment in .venv first; PYTHON=python3.12 picks another Python for it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# On a busy machine OpenMP's threads spin while they wait for each other, and everything crawls.
export OMP_WAIT_POLICY = PASSIVE
export OMP_NUM_THREADS ?= 1

.PHONY: help book test lint clean

help:
	@sed -n '1,3s/^# //p' Makefile

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
	TQDM_DISABLE= $(BIN)/python -m pytest tests
	TQDM_DISABLE=1 $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 book

lint: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf _build $(VENV)
