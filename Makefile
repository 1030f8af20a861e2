# The project's commands. The first call installs what it needs; later calls reuse it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
STAMP := $(VENV)/.installed

export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1

.PHONY: setup demo live test test-fast coverage test-package test-services test-cluster cluster bench docs lock clean
.PHONY: check style source-tree layers dead-code types

setup: $(STAMP)

# Byte code is compiled here, once: without it every process takes seconds longer to import.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $(STAMP)

demo: setup
	$(BIN)/mlops-assets demo

# The demo on real servers of this machine.
live: setup
	tests/services/install.sh
	$(BIN)/python tests/services/live.py

test: setup
	$(BIN)/pytest -n 2 --dist loadgroup

# Which lines the fast tests reach. Measuring slows Python down, so `make test` does without; what runs in processes that
# tests start (services, Dagster runs, commands) is not measured.
coverage: setup
	$(BIN)/pytest -n 2 --dist loadgroup -m "not slow" --cov --cov-report=term:skip-covered

# A first result within two minutes: no test that starts a JVM, a server or a Dagster run.
test-fast: setup
	$(BIN)/pytest -n 2 --dist loadgroup -m "not slow"

# The wheel in an empty environment: `mlops-assets init`, and the new repository's own checks, tests and loop.
test-package: setup
	.ci/test-package

# Tests on real servers of this machine, which are built once, and of the platform's processes as services. They run one
# after the other, because some of them kill a server.
test-services: setup
	tests/services/install.sh
	$(BIN)/pytest tests/services

# Tests on a one-node Kubernetes of this machine, built once; needs root, go, and Debian's packages for containers.
test-cluster: setup
	tests/services/install.sh
	tests/cluster/install.sh
	tests/cluster/images.sh
	tests/cluster/cluster.sh with $(BIN)/pytest tests/cluster

# The same cluster, left running; `tests/cluster/cluster.sh down` stops it.
cluster: setup
	tests/services/install.sh
	tests/cluster/install.sh
	tests/cluster/images.sh
	tests/cluster/cluster.sh up
	tests/cluster/cluster.sh run $(BIN)/python tests/cluster/install_chart.py

# Style, layers, dead code and types; then the projects' YAML and all definitions.
check: style layers dead-code types
	@# one by one: given several files of one component type, `dg check yaml` looks at the last one only
	for project in mlops_assets/projects/*/; do $(BIN)/dg check yaml $$project || exit 1; done
	$(BIN)/dg check defs
	$(BIN)/dagster definitions validate -w workspace.yaml

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The package as it is installed, with tests and benchmarks; the next three work on it.
source-tree: setup
	.ci/source-tree

layers: source-tree
	cd build/check && PYTHONPATH=. ../../$(BIN)/lint-imports ../../pyproject.toml

dead-code: source-tree
	cd build/check && ../../$(BIN)/vulture --config ../../pyproject.toml mlops_assets definitions.py benchmarks

types: source-tree
	.ci/types

# All benchmarks, on an idle machine. The forwarder's needs the servers of `make test-services`.
bench: setup
	tests/services/install.sh
	$(BIN)/python -m benchmarks

docs: setup
	$(BIN)/python -m mlops_assets.spec.reference > docs/project.md
	$(BIN)/python -m mlops_assets.resources.settings_reference > docs/settings.md

lock:
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --extra dev \
		--unsafe-package setuptools-none pyproject.toml -o requirements.lock
	@# the images': the same versions, without what only tests need
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --extra kubernetes \
		--constraint requirements.lock pyproject.toml -o deploy/platform.lock
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --extra endpoint \
		--extra forwarder --constraint requirements.lock --override deploy/endpoint-overrides.txt pyproject.toml \
		-o deploy/services.lock

clean:
	rm -rf $(VENV) .mlops
