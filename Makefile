# make demo  predicts and scores bundled frames;  make test  runs the tests.
# Both make .venv first. Needs Python 3.11 or newer and nothing else.
# make test-numeric  runs those that compare numbers under other instruction sets;
# make test-slow  runs the slower tests;  make test-torch  installs PyTorch and the
# optional packages, and runs what needs them;  make docs  builds the documentation in site/.
PYTHON ?= python3
BIN := .venv/bin
# Every process has TensorFlow in memory, so no more than two.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-numeric test-slow test-torch bench-pipeline bench-inference lint docs clean

demo: .venv/installed
	$(BIN)/nerveceg demo --out demo

test: .venv/installed-test
	$(PYTEST) -m "not slow and not torch and not extras"

# Bounds on numbers must hold on any processor: with what an old one has, and on new ones without
# oneDNN. (make test is with oneDNN on processors with AVX2. TF_ENABLE_ONEDNN_OPTS=0 make test is not.)
test-numeric: .venv/installed-test
	if grep -qs avx512_vnni /proc/cpuinfo; then \
	  TF_ENABLE_ONEDNN_OPTS=0 $(PYTEST) -m "numeric and not slow and not torch and not extras"; \
	fi
	TF_ENABLE_ONEDNN_OPTS=1 ONEDNN_MAX_CPU_ISA=SSE41 $(PYTEST) -m "numeric and not slow and not torch and not extras"

test-slow: .venv/installed-test
	$(PYTEST) -m "slow and not torch and not extras"

test-torch: .venv/installed-torch
	$(PYTEST) -m "torch or extras"

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

# Typer writes the page of commands from the commands themselves. A wrong link or name is an error.
docs: .venv/installed-docs
	$(BIN)/typer nerveceg_tf.cli.main utils docs --name nerveceg --title Commands --output docs/reference/commands.md
	$(BIN)/zensical build --strict --clean

clean:
	rm -rf .venv demo build dist site docs/reference/commands.md *.egg-info

.venv/installed: pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "nerveceg_tf needs Python 3.11 or newer: make PYTHON=python3.12 demo"; exit 2; }
	$(PYTHON) -m venv .venv
	@echo "installing (about a minute) ..."
	$(PIP) --editable .
	@touch $@

.venv/installed-test: .venv/installed
	$(PIP) --editable '.[test]'
	@touch $@

.venv/installed-docs: .venv/installed
	$(PIP) --editable '.[docs]'
	@touch $@

# efficientnet comes alone: segmentation-models pins a version before noisy student, and works with both.
.venv/installed-torch: .venv/installed-test
	$(PIP) --editable '.[test,test-volumes,torch,lite,onnx,openvino]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps efficientnet==1.1.1
	@touch $@

# DATA holds the competition's own TIFFs, which are not part of this project.
DATA ?= ../shared/data/kaggle-uns-tiff
bench-pipeline: .venv/installed-torch
	$(BIN)/python benchmarks/pipeline.py $(DATA)

bench-inference: .venv/installed-torch
	$(BIN)/python benchmarks/inference.py --pair full
	$(BIN)/python benchmarks/inference.py --pair fast
