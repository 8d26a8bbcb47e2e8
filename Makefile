PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help demo env test lint fast perf backbone clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

demo: env ## the environment, then the whole way on a simulated sky, into sommelier-demo
	$(BIN)/sommelier demo

env: $(VENV)/.installed ## the environment, in .venv

$(VENV)/.installed: setup.py pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --config-settings editable_mode=compat --editable '.[cpu,dev,lora,wandb]'
	touch $@

lint: env ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## the environment, style, types, and every test that this machine can run
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

fast: env ## the tests that take seconds
	$(BIN)/pytest -m 'not slow'

perf: env ## speed, as ratios in one run
	$(BIN)/pytest -m perf tests/perf -s

backbone: env ## train `tiny` anew, in build/backbone: at most an hour on two cores; goes on where it was stopped
	$(BIN)/python -m finetune.pretrain build/backbone

clean: ## remove the environment and caches
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
