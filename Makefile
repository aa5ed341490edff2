# Everything here needs Python >= 3.11 and make, nothing else. The environment is .venv, made on first use from the
# lock files and remade when they change.

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
LOCKED := $(PIP) install --require-hashes --no-deps

# Where it is set, each of the hundreds of processes that the tests start would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install serve live test soak fuzz poolers chaos siege failover governance linearizability clients \
	upgrade-check deploy-check sbom audit lint bench way plots transcripts schema documents frontend dashboard dashboard-check graphiql graphiql-check browser screenshots lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/installed ## make the environment to run the server

serve: .venv/installed ## run the server with its own PostgreSQL and the demo mesh (ARGS="--port 9000")
	@exec $(BIN)/omnirelay serve $(ARGS)

# Waits until the watcher prints that it watches, then moves a shard; the watcher ends with the diff it was waiting for.
live: .venv/installed ## with `make serve` in another terminal: move a shard, and see the diff arrive
	@: > .venv/watching; \
	$(BIN)/omnirelay mesh shards watch --namespace orders --limit 1 2> .venv/watching & watcher=$$!; \
	until grep -q Watching .venv/watching; do \
		kill -0 $$watcher 2> /dev/null || { cat .venv/watching >&2; exit 1; }; sleep 0.1; \
	done; \
	stop() { kill $$watcher; wait $$watcher; exit 1; }; \
	shard=$$($(BIN)/omnirelay mesh shards get orders orders-007 --json) || stop; \
	field() { printf '%s' "$$shard" | $(BIN)/python -c "import json, sys; print(json.load(sys.stdin)['shard']['$$1'])"; }; \
	if [ "$$(field ownerNodeId)" = node-eu-2 ]; then node=node-us-1; else node=node-eu-2; fi; \
	$(BIN)/omnirelay mesh shards set orders orders-007 --expected-version "$$(field version)" --owner $$node \
		--reason "see a live diff" --ticket CHG-2001 > /dev/null || stop; \
	wait $$watcher

test: .venv/installed-dev ## run all tests on an embedded PostgreSQL (ARGS="-k feed")
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

soak: .venv/installed-dev ## run at full length the tests that make test runs shorter
	TESTS_AT_LENGTH=1 $(BIN)/pytest -o timeout=1800 tests/integration/test_concurrent_writers.py \
		tests/e2e/test_postgres_killed.py tests/chaos/test_chaos.py tests/governance tests/linearizability tests/property/test_placement_laws.py tests/property/test_plan_waves.py \
		tests/property/test_prepared.py tests/property/test_second_opinion.py tests/property/test_store_machine.py tests/property/test_time_travel.py \
		tests/integration/test_policies.py tests/integration/test_absent_shards.py tests/integration/test_every_filter.py \
		tests/e2e/test_database_faults.py tests/hyperscale tests/fuzz $(ARGS)

fuzz: ## look for inputs that reach new code of what reads files, tokens and cursors (Linux; ARGS="--runs 100000")
	@$(MAKE) --no-print-directory .fuzz/installed
	PYTHONPATH=.fuzz $(BIN)/python -m tests.fuzz.run $(ARGS)

poolers: .venv/installed-dev ## stand PgBouncer before PostgreSQL, in each of its modes (needs Debian's pgbouncer)
	$(BIN)/pytest -n 0 tests/poolers/pgbouncer.py $(ARGS)

chaos: .venv/installed-dev ## follow 500,000 diffs through every fault, hold what came against history (ARGS="--seed 7")
	$(BIN)/python -m tests.chaos.run $(ARGS)
	$(BIN)/python -m tests.chaos.batches

failover: .venv/installed-dev ## promote standbys under Patroni 20 times, lose nothing (needs Debian's etcd-server, postgresql; ARGS="--rounds 8")
	@$(BIN)/python -m tests.failover.run --check
	@$(MAKE) --no-print-directory .failover/installed
	$(BIN)/python -m tests.failover.run $(ARGS)

siege: .venv/installed-dev ## attack a server in every way at once for 3 minutes, while others look up and follow (ARGS="--one-by-one --seconds 20")
	$(BIN)/python -m tests.siege.run $(ARGS)

governance: .venv/installed-dev ## have 8 operators do their worst for 2 minutes, recount every rule (ARGS="--seed 7")
	$(BIN)/python -m tests.governance.run $(ARGS)

clients: .venv/installed-dev .npm/frontend-queries ## have clients that others wrote query, follow, restart, sleep and be refused (needs Node >= 20.19)
	$(call quietly,building @omnirelay/mesh-queries,cd frontend-queries && npm run --silent build)
	@cd tests/clients && npm ci --no-audit --no-fund --loglevel=error
	$(BIN)/pytest -n 0 tests/clients/official_clients.py $(ARGS)

linearizability: .venv/installed-dev ## have 8 clients change the same shards through every fault for 2 minutes, explain each answer (ARGS="--seed 7")
	$(BIN)/python -m tests.linearizability.run $(ARGS)

deploy-check: .venv/installed-dev ## run what is in deploy/, and check what cannot run here (needs Debian's nginx, caddy, prometheus, systemd; kubectl)
	$(BIN)/pytest -n 0 -rs tests/deploy/proxies.py tests/deploy/files.py tests/deploy/monitoring.py $(ARGS)

sbom: .venv/installed ## write dist/omnirelay.cdx.json, the software bill of materials, as CycloneDX has it
	@mkdir -p dist
	$(BIN)/python deploy/bill_of_materials.py > dist/omnirelay.cdx.json.new
	@mv dist/omnirelay.cdx.json.new dist/omnirelay.cdx.json

audit: .venv/installed ## look the locked packages up in an index of known vulnerabilities
	@output=$$($(MAKE) --no-print-directory .audit/installed 2>&1) || case $$output in \
		*'No matching distribution'*) echo "make audit is left out: no index that answers has pip-audit"; exit 0;; \
		*) printf '%s\n' "$$output" >&2; exit 1;; \
	esac; \
	PYTHONPATH=$(CURDIR)/.audit $(BIN)/python deploy/known_vulnerabilities.py

upgrade-check: .venv/installed-dev ## run the last release beside this program, on a database upgraded under it (ARGS="--release TAG")
	$(BIN)/python -m tests.upgrades.run $(ARGS)

lint: .venv/installed-dev ## check style, types, layers, built documents, and that the locks fit pyproject.toml
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python frontend-queries/build_documents.py --check
	$(BIN)/python -m tests.support.transcripts --check
	$(PIP) check

bench: .venv/installed-dev ## measure beside peers and limits, write docs/performance.md (17 minutes; with Node, all peers; ARGS="--help")
	$(BIN)/python -m tests.benchmarks.run $(ARGS)

way: .venv/installed-dev ## count the files a request passes and its moves between them (ARGS="--case list --verbose")
	@$(BIN)/python -m tests.benchmarks.way_of_data $(ARGS)

plots: .venv/installed-dev ## draw the plots of docs/strategies.md anew, and write docs/performance.md from what was measured last
	$(BIN)/python -m tests.benchmarks.plots
	$(BIN)/python -m tests.benchmarks.performance

transcripts: .venv/installed-dev ## record anew the output of commands that README.md and docs/operations/a-night.md print
	$(BIN)/python -m tests.support.transcripts
	$(BIN)/python -m tests.support.night

schema: .venv/installed ## write the GraphQL schema to frontend-queries/schema.graphql
	$(BIN)/omnirelay schema export > .venv/schema.graphql
	mv .venv/schema.graphql frontend-queries/schema.graphql

documents: .venv/installed ## build frontend-queries/documents from its operations and fragments
	$(BIN)/python frontend-queries/build_documents.py

frontend: .npm/frontend-queries ## lint, type, test, build and pack @omnirelay/mesh-queries (needs Node >= 20.19)
	$(call quietly,linting operations and fragments,cd frontend-queries && npm run --silent lint)
	$(call quietly,generating TypeScript,cd frontend-queries && npm run --silent codegen)
	$(call quietly,checking TypeScript,cd frontend-queries && npm run --silent typecheck)
	$(call quietly,testing the package,cd frontend-queries && npm test --silent)
	$(call quietly,building and packing the package,cd frontend-queries && npm run --silent pack)

dashboard: .npm/frontend-queries ## build the dashboard into graph/http/dashboard_assets, to be committed (needs Node >= 20.19)
	$(call quietly,generating TypeScript,cd frontend-queries && npm run --silent codegen)
	@cd frontend-queries/dashboard && npm run --silent build

dashboard-check: .npm/frontend-queries ## build the dashboard elsewhere, and compare with what is committed (needs Node >= 20.19)
	$(call quietly,generating TypeScript,cd frontend-queries && npm run --silent codegen)
	$(call quietly,checking and testing the dashboard,cd frontend-queries/dashboard && npm run --silent typecheck && npm test --silent)
	$(call quietly,building the dashboard,cd frontend-queries/dashboard && npm run --silent check)

graphiql: .npm/frontend-queries ## build GraphiQL into graph/http/graphiql_assets, to be committed (needs Node >= 20.19)
	@cd frontend-queries/graphiql && npm run --silent build

graphiql-check: .npm/frontend-queries ## build GraphiQL elsewhere, and compare with what is committed (needs Node >= 20.19)
	$(call quietly,building GraphiQL,cd frontend-queries/graphiql && npm run --silent check)

browser: .venv/installed .npm/tests/browser ## drive the pages in a headless Chromium (needs Node >= 20.19, Debian's chromium)
	@cd tests/browser && node --test --test-concurrency=1 --test-reporter=spec $(or $(ARGS),*.test.mjs)

screenshots: .venv/installed .npm/tests/browser ## take the pictures of the dashboard in docs/images anew (needs Node >= 20.19, Debian's chromium)
	@cd tests/browser && node screenshots.mjs

# What builds the project is locked too, so that installing it fetches nothing more: build-system.requires, and
# editables, which hatchling asks for when the installation is an editable one.
lock: $(BIN)/python ## resolve the dependencies of pyproject.toml anew, for all platforms
	$(call quietly,installing uv $(UV_VERSION),$(PIP) install uv==$(UV_VERSION))
	@echo "resolving requirements.lock"
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], "editables", sep="\n")' \
		| $(LOCK) --extra embedded --output-file requirements.lock pyproject.toml -
	@echo "resolving requirements-tracing.lock"
	@$(LOCK) --extra tracing --constraints requirements.lock --output-file requirements-tracing.lock pyproject.toml
	@echo "resolving requirements-dev.lock"
	@$(LOCK) --group dev --constraints requirements.lock --output-file requirements-dev.lock
	@echo "resolving requirements-audit.lock"
	@echo pip-audit | $(LOCK) --output-file requirements-audit.lock -
	@echo "resolving tests/failover/patroni.lock"
	@printf '%s\n' $(PATRONI) | $(LOCK) --output-file tests/failover/patroni.lock -
	@echo "resolving tests/fuzz/atheris.lock"
	@echo 'atheris==3.0.0' | $(LOCK) --output-file tests/fuzz/atheris.lock -

LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

PATRONI := 'patroni[etcd3]==4.1.5' 'psycopg[binary]'

# Files, so that what is done is done. They lie in .venv: removing it is a fresh start.

.venv/installed: requirements.lock pyproject.toml $(BIN)/python
	$(call quietly,installing $(call packages,requirements.lock) packages,$(LOCKED) -r requirements.lock)
	$(call quietly,installing omnirelay,$(PIP) install --no-deps --no-build-isolation --editable .)
	@touch $@

.venv/installed-dev: requirements-dev.lock .venv/installed
	$(call quietly,installing $(call packages,requirements-dev.lock) packages for development,$(LOCKED) -r requirements-dev.lock)
	@touch $@

# atheris has wheels for Linux alone, its 3.0.0 for every Python from 3.11 on; developers do without it.
.fuzz/installed: tests/fuzz/atheris.lock .venv/installed-dev
	$(call quietly,installing atheris,rm -rf .fuzz && $(LOCKED) --target .fuzz -r $<)
	@touch $@

# Patroni runs as another user than root, so for an interpreter that all users may run; tests/failover/installation.py.
.failover/installed: tests/failover/patroni.lock .venv/installed-dev
	$(call quietly,installing Patroni,rm -rf .failover && $(BIN)/python -m pip --python /usr/bin/python3 \
		--disable-pip-version-check --no-input install --require-hashes --no-deps --target .failover -r $<)
	@touch $@

# What npm installs lies in the folder's node_modules; the mark beside it is as old as the lock it was made of.
.npm/%: %/package-lock.json
	$(node)
	@cd $* && npm ci --no-audit --no-fund --loglevel=error
	@mkdir -p $(@D) && touch $@

# In a folder of its own: what it requires is none of the project's.
.audit/installed: requirements-audit.lock .venv/installed
	$(call quietly,installing pip-audit,rm -rf .audit && $(LOCKED) --target .audit -r $<)
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not; name one: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(call quietly,creating the environment in .venv,$(PYTHON) -m venv --clear .venv)

packages = $(shell grep -c '^[a-z].*==' $(1))

node = @node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' 2> /dev/null && command -v npm > /dev/null || { \
	echo "make $(or $(MAKECMDGOALS),$@) needs Node 20 or newer with npm, and there is none: https://nodejs.org/" >&2; exit 1; }

# One line while it works; all of its output if it fails.
quietly = @echo "$(1)"; output=$$($(2) 2>&1) || { status=$$?; printf '%s\n' "$$output" >&2; exit $$status; }
