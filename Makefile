# `make` or `make help` lists what there is.
#   PYTHON=python3.12   the Python that makes the environment
#   VENV=path           where the environment stands
#   PYTEST_ARGS=...     more arguments for pytest, such as `-m "not slow"`

VENV ?= .venv
PYTEST_ARGS ?=
RUN := "$(VENV)/bin/python"

.DEFAULT_GOAL := help
.PHONY: help install demo demo-cls demo-det demo-seg data test lint format \
	clean distclean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' \
		$(firstword $(MAKEFILE_LIST))

install: ## Make the environment (.venv), once; afterwards a quick check
	@PYTHON="$(PYTHON)" VENV="$(VENV)" bash scripts/install.sh

demo: install ## Classify, detect and segment on a small embedded data set
	$(RUN) tools/demo.py all

demo-cls: install ## The classification part of the demo
	$(RUN) tools/demo.py cls

demo-det: install ## The instance segmentation part of the demo
	$(RUN) tools/demo.py det

demo-seg: install ## The semantic segmentation part of the demo
	$(RUN) tools/demo.py seg

data: install ## Write the embedded data set to data/
	$(RUN) tools/dataset_converters/digit_scenes.py

test: lint ## Lint, then run the tests
	$(RUN) -m pytest $(PYTEST_ARGS)

lint: install ## Check style and likely bugs
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: install ## Rewrite the code in the style that lint asks for
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .

clean: ## Delete build leftovers and caches; .venv and data/ stay
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find . \( -path ./.git -o -path ./.venv -o -path ./data \) -prune -o \
		-type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## Delete what clean deletes, .venv and data/ too
	rm -rf .venv data mmfft.egg-info mmfft/.mim
