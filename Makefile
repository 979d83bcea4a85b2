.DEFAULT_GOAL := help
ifeq ($(OS),Windows_NT)
$(error On Windows this runs inside WSL: install it with wsl --install, and clone the repository there)
endif
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
LOCAL := $(VENV)/.ready-local
READY := $(VENV)/.ready
CHECKOV := .venv-checkov
UV := .venv-uv
READER := .venv-reader
READER_LOCAL := $(READER)/.ready-export
READER_READY := $(READER)/.ready
# A worker for each core, each with servers of its own; a file is one worker's. They are
# taken in the order that is given: what is fast first, whole stacks at the end.
PARALLEL := --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder
LOCKED := --quiet --disable-pip-version-check install --require-hashes

export ONCE RATE NOW DATA PUBSUB PUSH RUNS PARTS MARKET PYTHON
# The same encoding everywhere, whatever the locale.
export PYTHONUTF8 := 1

# Our own servers are never looked for behind a proxy; gRPC reads the lower case.
comma := ,
export NO_PROXY := 127.0.0.1,localhost$(addprefix $(comma),$(or $(NO_PROXY),$(no_proxy)))
export no_proxy := $(NO_PROXY)

# A virtual environment that was moved, or whose Python has gone, is built again.
ifneq ($(shell ($(BIN)/python -c '' && cat $(LOCAL)) 2>/dev/null),$(CURDIR))
.PHONY: $(LOCAL) $(READY)
endif

##@ Run

.PHONY: dev
dev: $(LOCAL) ## The whole pipeline here, then its first collection (ONCE=1 RATE=off NOW= DATA=)
	@exec $(BIN)/python -m infra.local.dev

.PHONY: publish
publish: $(LOCAL) ## Publish a trigger to the running stack: make publish MSG='{"timeframe":"5m"}'
	@$(BIN)/python -m infra.local.publish '$(MSG)'

.PHONY: backfill
backfill: $(LOCAL) ## Fetch history: make backfill STOCKS=005930,000660 TIMEFRAME=1d START=2024-01-01 END=2025-01-01
	@$(BIN)/python -m infra.local.publish --backfill --stocks '$(STOCKS)' --timeframe '$(TIMEFRAME)' --start '$(START)' --end '$(END)'

.PHONY: report
report: $(LOCAL) ## Ask for the report of a day that is over (DAY=2026-11-20; without it, the latest)
	@$(BIN)/python -m infra.local.publish --topic reports '{"report":"$(or $(DAY),latest)"}'

.PHONY: status
status: $(LOCAL) ## The running stack on one screen
	@$(BIN)/python -m infra.local.status

.PHONY: candles
candles: $(LOCAL) ## The last candles of a stock: make candles STOCK=005930 TIMEFRAME=1d (ROWS=10)
	@$(BIN)/python -m infra.local.candles --stock '$(STOCK)' --timeframe '$(TIMEFRAME)' --rows '$(ROWS)'

.PHONY: logs
logs: $(LOCAL) ## Follow the logs of all parts
	@$(BIN)/python -m infra.local.logs

.PHONY: psql
psql: $(LOCAL) ## Open the running stack's database
	@$(BIN)/python -m infra.local.psql

##@ Use the data (docs/reading.md)

.PHONY: export
export: $(READER_LOCAL) ## Write what is settled to Parquet: make export TO=folder (FORMAT=csv KEEP_DAYS=7 SOURCE=postgresql://…)
	@PYTHONPATH=.:reader $(READER)/bin/python -m tradesmart export '$(TO)' --source '$(SOURCE)' --format '$(or $(FORMAT),parquet)' --keep-days '$(or $(KEEP_DAYS),7)'

.PHONY: verify-export
verify-export: $(READER_LOCAL) ## Recompute every digest of an export: make verify-export FROM=folder
	@PYTHONPATH=.:reader $(READER)/bin/python -m tradesmart verify '$(FROM)'

##@ Check

.PHONY: test
test: $(READY) $(READER_READY) ## All tests: unit, integration, end to end, and those of the reader
	$(BIN)/pytest $(PARALLEL) -m 'not alone' tests/unit tests/integration tests/e2e
	$(BIN)/pytest -m alone tests/e2e
	$(READER)/bin/python -m pytest $(PARALLEL) tests/reader
	PYTHONPATH=$(READER)/pandas-2:$(READER)/pyarrow-older $(READER)/bin/python -m pytest tests/reader/test_shape.py

.PHONY: test-reader
test-reader: $(READER_READY) ## Only the tests of the reader (pandas, Arrow, ADBC)
	$(READER)/bin/python -m pytest tests/reader

.PHONY: test-recipes
test-recipes: $(READY) $(UV) ## Recipes whose libraries are large, each in an environment for the while: RECIPE=vectorbt
	@tests/reader/recipes.sh $(BIN)/python $(UV)/bin/uv $(RECIPE)

.PHONY: test-unit
test-unit: $(READY) ## Only the tests without sockets
	$(BIN)/pytest tests/unit

.PHONY: chaos
chaos: $(READY) ## Random histories of trouble before a judge, then rounds of killed processes: N=1000 ROUNDS=200 SEED=0
	$(BIN)/python -m tests.chaos $(or $(N),1000) $(or $(SEED),0)
	$(BIN)/python -m tests.chaos.processes $(or $(ROUNDS),200) $(or $(SEED),0)

.PHONY: bench
bench: $(READY) $(READER_READY) ## Measure, and write docs/benchmarks.md (RUNS=5 PARTS=reading,storing,ledger,page,starting,running,limited,lanes MARKET=limited)
	$(BIN)/python -m tests.bench

.PHONY: scale
scale: $(READY) ## Simulate 100,000 series on 1, 4 and 16 app keys, and write docs/scale.md
	$(BIN)/python -m tests.bench.scale

.PHONY: lint
lint: $(READY) ## Style, types and which way the arrows point
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@infra/lint_terraform.sh

.PHONY: format
format: $(READY) ## Rewrite the code in its style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: checkov
checkov: $(CHECKOV) ## Check the Terraform stack with checkov; each skip has its reason beside it
	$(CHECKOV)/bin/checkov -d infra/terraform --framework terraform --compact --quiet --skip-download

##@ Pub/Sub (without it an embedded one runs; PUBSUB=embedded|emulator chooses)

.PHONY: emulator
emulator: $(LOCAL) ## Fetch Google's Pub/Sub emulator into .local (53 MB; needs Java 11)
	@$(BIN)/python -m infra.local.fetch_emulator

##@ Data

.PHONY: verify
verify: $(LOCAL) ## Was a settled candle changed by anyone but the pipeline? (STOCKS=005930,000660 ACCEPT=1)
	@$(BIN)/python -m infra.seals --stocks '$(STOCKS)' --accept '$(ACCEPT)'

##@ Reference data

.PHONY: calendar
calendar: $(READY) ## Regenerate the trading calendar: 1986 to next year
	$(BIN)/python -m infra.make_calendar

.PHONY: stocks
stocks: $(LOCAL) ## Load a stock master from files: make stocks FROM=folder (kospi_code.json, kosdaq_code.json)
	@$(BIN)/python -m infra.load_stocks '$(FROM)'

.PHONY: reference
reference: $(LOCAL) ## Send a message to reference_sync: make reference MSG='{"close":"2026-12-24"}'
	@$(BIN)/python -m infra.local.publish --topic reference '$(MSG)'

##@ Deploy (docs/deploy.md)

.PHONY: package
package: $(LOCAL) ## One zip for each function, the same bytes for the same sources
	@$(BIN)/python -m infra.package

.PHONY: plan
plan: package ## What Terraform would change: make plan ENV=dev PROJECT=my-project EMAIL=me@example.com
	terraform -chdir=infra/terraform init -input=false -reconfigure -backend-config=bucket=$(PROJECT)-terraform -backend-config=prefix=$(ENV)
	terraform -chdir=infra/terraform plan -var-file=environments/$(ENV).tfvars -var=project_id=$(PROJECT) -var=alert_email=$(EMAIL) -out=$(CURDIR)/build/$(ENV).tfplan

.PHONY: apply
apply: ## Change what make plan has shown: make apply ENV=dev
	terraform -chdir=infra/terraform apply $(CURDIR)/build/$(ENV).tfplan

.PHONY: migrate
migrate: $(LOCAL) ## Bring a database up to date: DATABASE_URL, or CLOUD_SQL_INSTANCE and its like
	@$(BIN)/python -m infra.migrate

.PHONY: migrate-cloud
migrate-cloud: ## Run the migration job and show its log: make migrate-cloud PROJECT=my-project (REGION=)
	@infra/run_job.sh '$(PROJECT)' '$(or $(REGION),asia-northeast3)'

##@ Dead letters (PROJECT= looks in the cloud, CODE= takes only one error_code)

.PHONY: dlq
dlq: $(LOCAL) ## What could not be handled, by what went wrong
	@$(BIN)/python -m infra.dead_letters list --project '$(PROJECT)' --code '$(CODE)'

.PHONY: dlq-replay
dlq-replay: $(LOCAL) ## Publish it to its topics again
	@$(BIN)/python -m infra.dead_letters replay --project '$(PROJECT)' --code '$(CODE)'

.PHONY: dlq-drop
dlq-drop: $(LOCAL) ## Remove it permanently
	@$(BIN)/python -m infra.dead_letters drop --project '$(PROJECT)' --code '$(CODE)'

##@ Set up

.PHONY: lock
lock: $(UV) ## Resolve all requirements, and lock them with their hashes
	@infra/lock.sh $(UV)/bin/uv

.PHONY: setup
setup: $(READY) ## Create the virtual environment (every other target does it by itself)

.PHONY: clean
clean: ## Remove the virtual environment and all local data
	@infra/local/clean.sh $(VENV) $(CHECKOV) $(UV) $(READER) build

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Set-up is faster without the tools of the tests.
$(LOCAL): locks/local.txt infra/local/setup.sh
	@infra/local/setup.sh $(VENV) locks/local.txt
	@pwd -P > $@

# Of the reader only: pandas and Arrow, on top of what is there already.
$(READER_LOCAL): $(LOCAL) locks/reader.txt
	@test -x $(READER)/bin/python || $(BIN)/python -m venv $(READER)
	@for folder in $(READER)/lib/python*/site-packages; do ls -d $(CURDIR)/$(VENV)/lib/python*/site-packages > $$folder/pipeline.pth; done
	@echo "setting up $(READER), which reads and exports candles"
	@$(READER)/bin/python -m pip $(LOCKED) -r locks/reader.txt
	@touch $@

# Older versions of pandas and pyarrow lie beside the newer ones.
OLDER := pandas-2 pyarrow-older
$(READER_READY): $(READY) $(READER_LOCAL) locks/reader-dev.txt $(OLDER:%=locks/%.txt)
	@$(READER)/bin/python -m pip $(LOCKED) -r locks/reader-dev.txt
	@for name in $(OLDER); do \
	  rm -rf $(READER)/$$name; \
	  $(READER)/bin/python -m pip $(LOCKED) --no-deps --target $(READER)/$$name -r locks/$$name.txt || exit 1; done
	@touch $@

# An environment of its own, because it needs other versions of our packages.
$(CHECKOV):
	$(or $(PYTHON),python3) -m venv $@
	$@/bin/pip $(LOCKED) -r locks/checkov.txt || (rm -rf $@; exit 1)

$(UV):
	$(or $(PYTHON),python3) -m venv $@
	$@/bin/pip $(LOCKED) -r locks/uv.txt || (rm -rf $@; exit 1)

$(READY): $(LOCAL) locks/dev.txt
	@infra/local/setup.sh $(VENV) locks/dev.txt
	@touch $@
