# `make` or `make help` lists the targets.
#   LINE=upstream       the original OpenMMLab instead of OneDL's (default:
#                       onedl), for each of these targets
#   PYTHON=python3.12   the Python from which the environment is made
#   OPS=compiled        mmcv's own operators instead of torchvision's (light)
#   TORCH_INDEX=URL     the package index to take PyTorch from, such as the one
#                       of its CPU builds
#   VENV=path           folder of the environment
#   PYTEST_WORKERS=2    number of test processes, with one thread each
#   PYTEST_ARGS=...     more arguments for pytest, such as `-m "not slow"`
#   FUZZ_EXAMPLES=1000  cases of each fuzz test
#   CORE_WITH=...       other versions for test-core: 'torch==2.4.1 torchvision'
#   TAG=v1.0.0 REPOSITORY=owner/name   what check-release compares with

LINE ?= onedl
VENV ?= $(if $(filter upstream,$(LINE)),.venv-upstream,.venv)
PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=
FUZZ_EXAMPLES ?= 1000
RUN := "$(VENV)/bin/python"

# uv compiles nothing that it installs. Where this is set, as in many images,
# each process would compile its 5,000 imports again, which takes 10 s.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo demo-full demo-cls demo-det demo-seg data test fuzz \
	docs lint format clean distclean app test-app install-upstream test-upstream \
	test-compiled test-core coverage dist check-release lock

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' \
		$(firstword $(MAKEFILE_LIST))

install: ## Make the environment (.venv) once; afterwards only check it
	@LINE="$(LINE)" PYTHON="$(PYTHON)" VENV="$(VENV)" OPS="$(OPS)" \
		TORCH_INDEX="$(TORCH_INDEX)" INSTALLER="$(or $(INSTALLER),uv)" \
		bash scripts/install.sh

install-upstream: ## Likewise with the original OpenMMLab (.venv-upstream)
	@$(MAKE) --no-print-directory install LINE=upstream

demo: install ## Classify, detect and segment on a small embedded data set
	$(RUN) demo/run.py all

demo-full: install ## The same, trained longer, in work_dirs/demo-full
	$(RUN) demo/run.py all --full

demo-cls: install ## The classification part of the demo
	$(RUN) demo/run.py cls

demo-det: install ## The instance segmentation part of the demo
	$(RUN) demo/run.py det

demo-seg: install ## The semantic segmentation part of the demo
	$(RUN) demo/run.py seg

data: install ## Write the embedded data set to data/
	$(RUN) tools/dataset_converters/digit_scenes.py

app: install ## Show the demo's models in the browser (needs the extra app)
	$(RUN) demo/app.py

test: lint ## Lint, then run the tests
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(PYTEST_WORKERS) $(PYTEST_ARGS)

coverage: install ## Run the tests and say which lines they miss (htmlcov/)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(PYTEST_WORKERS) \
		--cov --cov-report=term --cov-report=html $(PYTEST_ARGS)

fuzz: install ## Test the op and the backbones on thousands of random cases
	MMFFT_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(RUN) -m pytest tests/test_fuzz \
		--timeout 0 --hypothesis-show-statistics $(PYTEST_ARGS)

test-upstream: ## Lint and test with the original OpenMMLab
	@$(MAKE) --no-print-directory test LINE=upstream

test-compiled: ## Test with compiled ops of mmcv (.venv-compiled)
	@$(MAKE) --no-print-directory test OPS=compiled VENV=.venv-compiled

# What needs neither mmengine nor a toolbox. pytest itself, unlike python -m
# pytest, does not find mmfft in the checkout: the wheel is what is tested.
CORE_TESTS := tests/test_core.py tests/test_ops tests/test_layers \
	tests/test_models tests/test_checkpoints tests/test_timm_models.py \
	tests/test_fuzz/test_fuzz_ops.py
CORE := .venv-core/bin
CORE_WITH ?=

test-core: install ## Test the core from a wheel: torch, timm, then hub's
	$(RUN) -m venv --clear --without-pip .venv-core
	rm -rf build
	"$(VENV)/bin/uv" build --quiet --wheel --no-build-isolation \
		--python $(VENV)/bin/python --out-dir .venv-core/wheel .
	"$(VENV)/bin/uv" pip install --quiet --python $(CORE)/python \
		--constraints requirements/lock/onedl.txt \
		-r requirements/tests.txt .venv-core/wheel/*.whl
	$(if $(CORE_WITH),"$(VENV)/bin/uv" pip install --quiet \
		--python $(CORE)/python $(CORE_WITH))
	OMP_NUM_THREADS=1 $(CORE)/pytest -n $(PYTEST_WORKERS) $(CORE_TESTS) \
		$(PYTEST_ARGS)
	"$(VENV)/bin/uv" pip install --quiet --python $(CORE)/python \
		--constraints requirements/lock/hub.txt -r requirements/hub.txt
	OMP_NUM_THREADS=1 $(CORE)/pytest tests/other_libraries.py

test-app: install ## Test the page of `make app` in a headless Chromium
	$(RUN) -m pytest tests/test_demo/browser_app.py

docs: install ## Build the site in build/docs; a broken link fails
	rm -rf build/docs
	$(RUN) -m sphinx -W --keep-going -n -q docs build/docs
	@echo "Open build/docs/index.html"

lint: install ## Check style, types, likely bugs and what imports what
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	"$(VENV)/bin/lint-imports" --no-logo --no-cache
	$(RUN) scripts/floors.py --check

format: install ## Rewrite the code in its style, and what is made from it
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .
	$(RUN) scripts/floors.py
	$(RUN) scripts/model_index.py

dist: install ## Build sdist and wheel in dist/, and check them for PyPI
	rm -rf build dist
	"$(VENV)/bin/uv" build --quiet --no-build-isolation \
		--python $(VENV)/bin/python --out-dir dist .
	$(RUN) -m twine check --strict dist/*

check-release: install ## Check dist/ against TAG and REPOSITORY, as CI does
	$(RUN) scripts/release.py "$(TAG)" "$(REPOSITORY)"

lock: install ## Update requirements/lock to the newest versions
	for line in onedl upstream; do \
		$(VENV)/bin/uv pip compile --quiet --universal --upgrade \
			--python-version 3.10 --no-annotate \
			--custom-compile-command 'make lock' \
			--build-constraints requirements/build.txt \
			--constraints requirements/tested.txt \
			requirements/core.txt requirements/$$line.txt \
			requirements/build.txt requirements/tests.txt \
			requirements/export.txt requirements/openvino.txt \
			requirements/demo.txt requirements/docs.txt \
			requirements/vis.txt \
			-o requirements/lock/$$line.txt || exit; \
	done
	$(VENV)/bin/uv pip compile --quiet --universal --upgrade \
		--python-version 3.10 --no-annotate \
		--custom-compile-command 'make lock' \
		--constraints requirements/lock/onedl.txt requirements/core.txt \
		requirements/hub.txt -o requirements/lock/hub.txt

clean: ## Delete build leftovers and caches; .venv and data/ stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		htmlcov .coverage*
	find . \( -path ./.git -o -path "./.venv*" -o -path ./data \) -prune -o \
		-type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## Delete what clean deletes, and also environments and data/
	rm -rf .venv .venv-upstream .venv-compiled .venv-core data mmfft.egg-info mmfft/.mim
