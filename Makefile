# Variables that pass through: DATA, PRESET, RUNS, FIGURES, SEEDS (see the README).
# TORCH_INDEX: another package index for torch, such as PyTorch's CPU-only one, gigabytes smaller.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SHELL := /bin/bash
.DEFAULT_GOAL := help
export L4S_DATA := $(or $(DATA),$(L4S_DATA))
export L4S_PRESET := $(or $(PRESET),$(L4S_PRESET))
export L4S_RUNS := $(or $(RUNS),$(L4S_RUNS))
export L4S_FIGURES := $(or $(FIGURES),$(L4S_FIGURES))
export L4S_SEEDS := $(or $(SEEDS),$(L4S_SEEDS))
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))

.PHONY: help install reproduce test lint bench figures clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## create .venv with the tested versions

$(VENV)/.installed: requirements.txt constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/pip install --progress-bar off torch torchvision -c constraints.txt --index-url $(TORCH_INDEX))
	$(BIN)/pip install --progress-bar off -r requirements.txt -c constraints.txt
	$(BIN)/pip install --progress-bar off --no-deps -e .
	touch $@

reproduce: install  ## run every notebook with papermill: figures, tables, executed notebooks
	$(BIN)/python notebooks/run_all.py

figures: install  ## as reproduce, and put the executed notebooks in place of the committed ones
	$(BIN)/python notebooks/run_all.py --in-place

lint: install  ## check format and style of code and notebooks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

test: lint  ## everything CI checks: style, unit tests, every notebook in preset smoke
	$(BIN)/python -m pytest tests --ignore tests/bench
	L4S_PRESET=smoke L4S_DATA= L4S_SEEDS=0 L4S_RUNS=runs/test L4S_FIGURES=runs/test/figures \
	  $(BIN)/python -m pytest -p no:cacheprovider --nbval-lax --nbval-current-env \
	  --nbval-cell-timeout 600 $(NOTEBOOKS)

bench: install  ## measure speed on this machine
	set -e; for script in tests/bench/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

clean:  ## remove the environment, runs and packed data; nothing that was downloaded
	rm -rf $(VENV) runs data/packed data/sample data/sample.lock *.egg-info
