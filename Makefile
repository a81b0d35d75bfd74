# make demo             set up, then train the triage example on this machine and download its adapter to ./adapters/
# make test             set up, then run every test but the slow ones
# make test-slow        set up, then run the slow tests
# make test-postgresql  set up, then run the tests of what is stored, on a PostgreSQL server of their own
# make test-ray         set up with Ray, then run the tests of jobs on a Ray cluster
# make test-llama       set up, then run the tests of chats and reports with the answers of llama.cpp
# make check            set up, then run the linters and the type checker
# make clean            remove the environment and what was built
#
# PYTHON       the interpreter to build the environment with: 3.11 or newer
# TORCH_INDEX  a package index to take PyTorch from, for instance PyTorch's own index of CPU builds
# PYTEST_ARGS  passed on to pytest; by default the test files are divided among processes

PYTHON ?= python3
TORCH_INDEX ?=
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

STORED := $(addprefix tests/unit/backend/,store jobs routes) $(addprefix tests/integration/backend/test_,$(addsuffix .py,\
	access conformance datasets deleting evaluations every_route exports imports jobs pages pausing servers))
ON_RAY := $(addprefix tests/integration/,$(addprefix backend/test_,conformance.py ray_devices.py ray.py engines.py) test_cluster.py)
ANSWERED := $(addprefix tests/integration/test_,chat.py reports.py)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test test-slow test-postgresql test-llama test-ray check clean

demo: $(VENV)/ready
	cd examples/triage && ../../$(BIN)/python demo.py ../../adapters

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-slow: $(VENV)/ready-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

test-postgresql: $(VENV)/ready-cluster
	ARKOR_TEST_DATABASE=postgresql $(BIN)/python -m pytest -k "not stranger_learns" $(PYTEST_ARGS) $(STORED)

test-llama: $(VENV)/ready-dev
	ARKOR_CHAT_ENGINE=llama.cpp $(BIN)/python -m pytest -m "slow or not slow" $(ANSWERED)

test-ray: $(VENV)/ready-cluster
	ARKOR_TEST_RAY=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ON_RAY)

check: $(VENV)/ready-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

$(VENV)/ready: setup.cfg setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "arkor's demo and tests need Python 3.11 or newer; name one with: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifneq ($(TORCH_INDEX),)
	$(PIP) install --quiet --constraint constraints.txt --index-url $(TORCH_INDEX) torch
endif
	@echo "Installing arkor and what training needs (about 1.5 GiB) …"
	$(PIP) install --quiet --constraint constraints.txt --editable '.[local]'
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(PIP) install --quiet --constraint constraints.txt --editable '.[local,studio,dev]'
	touch $@

$(VENV)/ready-cluster: $(VENV)/ready-dev
	$(PIP) install --quiet --constraint constraints.txt --editable '.[local,studio,dev,postgresql,ray]'
	touch $@

clean:
	rm -rf $(VENV) adapters build dist *.egg-info
