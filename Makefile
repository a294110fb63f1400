# make demo   the main job, with real processes       make test   every test
# make lint   format, types, imports, shipped YAML    make clean  forget everything that set-up made
.DEFAULT_GOAL := help
.PHONY: help demo test lint format clean setup-demo setup-dev setup-prometheus

PY := .venv/bin/python

help:
	@sed -n 's/^# //p' Makefile

.venv/.demo: pyproject.toml .ci/setup
	@.ci/setup demo
	@touch $@

.venv/.dev: pyproject.toml .ci/setup
	@.ci/setup dev
	@touch $@ .venv/.demo

setup-dev: .venv/.dev
setup-demo: .venv/.demo

setup-prometheus: | setup-demo
	@$(PY) prometheus/install.py

demo: setup-demo setup-prometheus
	@PYTHONPATH=examples KEEP=$(KEEP) $(PY) -m demo

test: setup-dev setup-prometheus
	@$(PY) -m pytest $(ARGS)

lint: setup-dev setup-prometheus
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

format: setup-dev
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

clean:
	rm -rf .venv .stack .pytest_cache .mypy_cache .ruff_cache .hypothesis
