# PYTHON=...      the Python (3.11 or newer) that .venv is made with
# PYTEST_ARGS=... arguments for pytest, as in: make test PYTEST_ARGS="tests/unit -x"
# ONCE=1          make demo runs through once and ends
# SHARD=i/n    make conformance runs every n-th item, from the i-th; FILES='file file': of these alone
# ONLY=keys PEERS=names ROUNDS=5 SHORT=1: what make bench measures, with whom, how often; SHORT=1
#                 only sees that it works
# FAULT=names ROUNDS=1 JOBS=200 AWAY=30: what make chaos lets happen (none: all; today: a share), how
#                 often, to how many jobs; seconds for which the database is away;
#                 SYSTEM=celery or celery-acks-late: to what it happens
# MINUTES=20 RATE=200: how long make soak lasts, with how many jobs a second

VENV := .venv
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint bench chaos soak conformance clean

help:
	@echo 'make demo [ONCE=1]          run the demo site: database, cluster, dispatcher, web server'
	@echo 'make test [PYTEST_ARGS=..]  run the tests'
	@echo 'make lint                   run ruff and mypy'
	@echo 'make bench [ONLY=keys] [PEERS=names] [ROUNDS=5] [SHORT=1]'
	@echo '                            measure beside Celery and plain Dask; writes build/bench.json'
	@echo 'make chaos [FAULT=names] [ROUNDS=1] [JOBS=200] [AWAY=30] [SYSTEM=..]'
	@echo '                            kill and cut what jobs run on, and count; writes build/chaos.json'
	@echo 'make soak [MINUTES=20] [RATE=200]'
	@echo '                            see that memory does not grow with jobs; writes build/soak.json'
	@echo 'make conformance [SHARD=i/n] [FILES=..]'
	@echo '                            run tests of Celery itself on it; writes build/conformance.json'
	@echo 'make clean                  remove what these commands have made'

# Ctrl-C is how a demo ends: the trap lets the command clean up, and make has no error to report.
demo: $(VENV)/.installed-demo
	@trap 'exit 0' INT; $(VENV)/bin/python demo_site/manage.py demo $(if $(filter-out 0,$(ONCE)),--once)

test: $(VENV)/.installed-test
	@$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed-lint
	@status=0; \
	for tool in 'ruff check .' 'ruff format --check .' 'mypy --strict dask_facade'; do \
		echo "$$tool"; $(VENV)/bin/$$tool || status=1; \
	done; \
	exit $$status

# It needs PostgreSQL; a Redis server is started where none answers.
bench: $(VENV)/.installed-bench
	@$(VENV)/bin/python -m tests.benchmarks --only '$(ONLY)' --peers '$(PEERS)' \
		--rounds $(or $(ROUNDS),5) $(if $(filter-out 0,$(SHORT)),--short)

# It needs PostgreSQL's programs; the server is its own, as all else. For Celery it needs Redis's.
chaos: $(VENV)/.installed-$(if $(SYSTEM),bench,test)
	@$(VENV)/bin/python -m tests.chaos --fault '$(FAULT)' --rounds $(or $(ROUNDS),1) \
		--jobs $(or $(JOBS),200) --away $(or $(AWAY),30) --system $(or $(SYSTEM),dask_facade)

soak: $(VENV)/.installed-test
	@$(VENV)/bin/python -m tests.chaos.soak --minutes $(or $(MINUTES),20) --rate $(or $(RATE),200)

# It needs a package index for Celery's source distribution, and Redis, which is started if need be.
conformance: $(VENV)/bin/python
	@$(VENV)/bin/python -m tests.conformance --shard '$(SHARD)' --files '$(FILES)'

clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	@echo 'Installing dask_facade[$*] into $(VENV) ...'
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -e '.[$*]'
	@touch $@

# A candidate counts only if it runs: version managers leave shims for Pythons that are not active.
$(VENV)/bin/python:
	@for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo 'No Python 3.11 or newer among: $(or $(PYTHON),python3 python3.13 python3.12 python3.11).' >&2; \
		echo 'Install one, or name it: make PYTHON=/path/to/python ...' >&2; \
		exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$python --version) ..."; \
	$$python -m venv --clear $(VENV)
