# Short names for what is done often. `make help` lists them; everything works by hand too (README).
#
# VENV=DIR      use or make another environment than .venv
# PYTHON=…      the Python (3.11 to 3.13) that a new environment is made from
# ARGS="-k …"   further arguments for pytest (test), or for bench and stress

VENV ?= .venv
PYTHON ?=
ARGS ?=

# Windows keeps an environment's programs elsewhere.
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint docs reference bench stress gpu-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv if it is missing and install into it, again when pyproject.toml has changed
	@sh scripts/setup.sh "$(VENV)" "$(PYTHON)"

demo: setup ## train on drawn cells and evaluate: table, pictures, curves
	@run=runs/demo/$$(date +%Y-%m-%d_%H-%M-%S) && \
	"$(BIN)/unet-train" experiment=demo hydra.run.dir="$$run" && \
	"$(BIN)/unet-eval" ckpt="$$run/best.pt" && \
	echo && echo "Curves and pictures: $(BIN)/tensorboard --logdir $$run/tensorboard"

# Up to four processes, each with the tests of whole files, and one thread per process: tests that start processes would
# otherwise fight for the cores. A test that hangs for five minutes ends the run with the stacks of all threads.
test: setup ## run all tests
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} "$(BIN)/python" -m pytest \
		-n logical --maxprocesses 4 --dist loadfile -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true $(ARGS)

lint: setup ## check style, formatting and types
	@"$(BIN)/python" -m ruff check . && "$(BIN)/python" -m ruff format --check . && "$(BIN)/python" -m mypy

# The extra is large for what only this target needs, so that it comes with the first call.
docs: setup reference ## build the documentation into site/, links checked
	@"$(BIN)/python" -c "import material, mkdocs" 2>/dev/null || "$(BIN)/python" -m pip install --quiet -e ".[docs]"
	@NO_MKDOCS_2_WARNING=1 "$(BIN)/python" -m mkdocs build --strict --quiet && echo "open site/index.html"

reference: setup ## write docs/reference.md anew from the schema and the YAML
	@"$(BIN)/python" scripts/write_reference.py

bench: setup ## measure speed and memory, ratios to other libraries; goes on where it was stopped (ARGS="--only step")
	@"$(BIN)/python" -m scripts.benchmark $(ARGS)

stress: setup ## kill runs, try bad inputs and hostile files by the thousand; goes on where it was stopped
	@"$(BIN)/python" scripts/stress.py $(ARGS)

# With PYTHON=… it runs in that Python as it is, for machines with a GPU and without a network.
gpu-check: $(if $(PYTHON),,setup) ## on a CUDA machine: the gpu tests, then the recipes' first epochs in each precision
	@py="$(if $(PYTHON),$(PYTHON),$(BIN)/python)" && \
	"$$py" -m pytest -m gpu $(ARGS) && "$$py" scripts/gpu_check.py

clean: ## remove caches and builds; leaves .venv, data and runs alone
	@rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find unet_train tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
