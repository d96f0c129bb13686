# `make demo` and `make test` need Python 3.11+ and nothing else: they build .venv and use embedded servers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
# Processes of pytest, each with servers of its own, that share the files of tests in their order: the files that take
# longest come first. 0: one file after the other.
TESTERS ?= 2
SHARED := --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test chaos browser versions bench bench-api bench-beat bench-page bench-queue bench-signals bench-streams \
	bench-tasks bench-waits check dev clean

demo: $(READY)
	$(BIN)/python examples/demo.py

test: $(READY)
	$(PYTEST) $(SHARED) -m "not (alone or chaos or browser)"
	$(PYTEST) -m alone

chaos: $(READY)
	$(PYTEST) $(SHARED) -m chaos --ignore tests/chaos
	$(PYTEST) -m chaos tests/chaos

browser: $(READY)
	$(BIN)/python -m pytest -m browser tests/browser

versions: $(READY)
	.ci/versions

bench: $(READY)
	$(BIN)/python bench/backlog.py

bench-beat: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]' --constraint constraints.txt
	$(BIN)/python -u bench/beat

bench-queue: $(READY)
	$(BIN)/python bench/queues

bench-signals: $(READY)
	$(BIN)/python bench/signals

bench-page: $(READY)
	$(BIN)/python -u bench/page

bench-streams: $(READY)
	$(BIN)/python bench/streams

bench-tasks: $(READY)
	$(BIN)/python -u bench/tasks

bench-waits: $(READY)
	$(BIN)/python bench/waits

bench-api: $(READY)
	$(BIN)/python bench/webhooks

dev: $(READY)
	$(BIN)/python examples/dev.py

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	mkdir -p .types && ln -sfn .. .types/celeriac
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

clean:
	rm -rf $(VENV) .types build *.egg-info .celeriac examples/.celeriac

$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	@touch $@
