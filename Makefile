#: make demo          the main job, with real processes; KEEP=1 leaves it running
#: make test          every test; ARGS="tests/exporter -k plateau" some, JOBS=1 one at a time
#: make test-newer    the stack tests on Debian trixie's Prometheus and Alertmanager
#: make lint          format, types, imports, shipped YAML, rules and dashboards
#: make bench         what epochwatch costs a training, what the bridge bears; ARGS=--quick for a look
#: make bench-scaling 10 to 10,000 ranks in a real Prometheus, an hour; ARGS="--minutes 3 --only trimmed" for less
#: make chaos         the bridge killed a hundred times, bursts, an outage; KILLS=300 for longer
#: make test-compose  the containers, brought up for real; ONLY=postgres one profile
#: make previews      pictures of the dashboards for the documentation; needs Node.js and Chromium
#: make format        mend the format
#: make clean         forget everything that set-up made
.DEFAULT_GOAL := help
.PHONY: help demo test test-newer chaos bench bench-scaling test-compose lint previews format clean setup-demo setup-dev setup-bench setup-prometheus

PY := .venv/bin/python
# Most stack tests wait for a scrape or a timer, so three at a time keep two cores busy. A file's tests stay together:
# they share a database cluster or a set of mutants.
JOBS ?= 3

help:
	@sed -n 's/^#: //p' Makefile

.venv/.demo: pyproject.toml .ci/setup
	@.ci/setup demo
	@touch $@

.venv/.dev: pyproject.toml .ci/setup
	@.ci/setup dev
	@touch $@ .venv/.demo

.venv/.bench: pyproject.toml .ci/setup
	@.ci/setup bench
	@touch $@

setup-bench: .venv/.bench
setup-dev: .venv/.dev
setup-demo: .venv/.demo

setup-prometheus: | setup-demo
	@$(PY) prometheus/install.py

demo: setup-demo setup-prometheus
	@PYTHONPATH=examples KEEP=$(KEEP) $(PY) -m demo

test: setup-dev setup-prometheus
	@$(PY) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

# The oldest versions that are supported are Debian bookworm's, which make test has there.
NEWER := $(CURDIR)/.stack/trixie

test-newer: setup-dev
	@$(PY) prometheus/install.py --suite trixie
	@EPOCHWATCH_STACK=$(NEWER) $(PY) -m pytest -n $(JOBS) --dist loadfile tests/stack $(ARGS)

# One at a time: these measure how long things take.
KILLS ?= 100

chaos: setup-dev setup-prometheus
	@CHAOS_KILLS=$(KILLS) $(PY) -m pytest -o log_cli=true -o log_cli_level=INFO $(wildcard tests/stack/test_chaos*.py) $(ARGS)

# All are run, and it fails if one missed its target.
bench: setup-bench
	@missed=0; for each in step loop scrape footprint growth history supervisor bridge; do \
	  PYTHONPATH=examples $(PY) bench/$$each.py $(ARGS) || missed=1; done; exit $$missed

bench-scaling: setup-demo setup-prometheus
	@PYTHONPATH=examples $(PY) -m bench.scaling $(ARGS)

test-compose: setup-dev
	@tests/compose/run.sh $(ARGS)

lint: setup-dev setup-prometheus
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PY) -W ignore::DeprecationWarning -m grafana.lint
	@$(PY) prometheus/lint.py
	@$(PY) .ci/audit.py

grafana/preview/node_modules/.ready: grafana/preview/package.json
	@cd grafana/preview && npm install --no-audit --no-fund --loglevel=error
	@touch $@

previews: setup-dev setup-prometheus grafana/preview/node_modules/.ready
	@PYTHONPATH=examples $(PY) -m grafana.preview $(ARGS)

format: setup-dev
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

clean:
	rm -rf .venv .stack grafana/*/node_modules grafana/preview/dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
