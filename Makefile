# The commands of the house. `make demo` and `make test` are all a newcomer needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv

.PHONY: demo test check coverage bench lock clean

demo: $(VENV)/.run-ready
	$(BIN)/exitwave demo

test: $(VENV)/.dev-ready
	$(BIN)/python -m pytest tests/unit tests/contract tests/system

check: $(VENV)/.dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy -p exitwave
	$(BIN)/mypy --explicit-package-bases tests

# Of the tests that need no server; what runs in the simulator's process is not counted.
coverage: $(VENV)/.dev-ready
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered tests/unit tests/contract

bench: $(VENV)/.bench-ready
	$(BIN)/python tests/benchmarks --json bench.json

# One environment, three depths: what runs, what tests, what the benchmarks compare with.
$(VENV)/.uv: requirements-uv.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "exitwave needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-uv.lock
	touch $@

$(VENV)/.run-ready: $(VENV)/.uv requirements.lock pyproject.toml
	$(UV) pip install --python $(BIN)/python --no-deps --require-hashes -r requirements.lock
	$(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation --quiet -e .
	touch $@

$(VENV)/.dev-ready: $(VENV)/.run-ready requirements-dev.lock
	$(UV) pip install --python $(BIN)/python --no-deps --require-hashes -r requirements-dev.lock
	touch $@

$(VENV)/.bench-ready: $(VENV)/.dev-ready requirements-bench.lock
	$(UV) pip install --python $(BIN)/python --no-deps --require-hashes -r requirements-bench.lock
	touch $@

# Resolve anew; the locks hold names, versions and hashes, and no addresses.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header pyproject.toml
lock: $(VENV)/.uv
	$(COMPILE) --group build -o requirements.lock
	$(COMPILE) --extra queue --group build --group dev -c requirements.lock -o requirements-dev.lock
	$(COMPILE) --extra queue --extra bench --group build --group dev -c requirements-dev.lock -o requirements-bench.lock

clean:
	rm -rf $(VENV) build dist .coverage htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis
