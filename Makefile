# Settings, e.g. `make reproduce BENCHMARK=digits PROFILE=smoke SEEDS=20,21,22 DEVICE=cpu`
BENCHMARK ?= emoji
PROFILE ?= default
# no estimator was chosen on these seeds
SEEDS ?= 20,21,22
DEVICE ?=
# training runs, and tests, side by side on the CPU; two processes of one thread are faster than one of two
PROCESSES ?= 2
# a network of your own to start from: MODEL=resnet50 WEIGHTS=path, or WEIGHTS=folder alone; `timm` is what timm downloads
MODEL ?=
WEIGHTS ?=
# pixels of its images, where they are not to be as many as the network states
IMAGE_SIZE ?=
# such as `--no-browser --port=8890`
LAB_OPTIONS ?=
PYTHON ?= $(shell command -v python3.11 || command -v python3)

# files are named after it
ifneq ($(shell printf '%s' '$(BENCHMARK)' | tr -d 'A-Za-z0-9_.-')$(filter-out 1,$(words $(BENCHMARK)))$(filter .%,$(BENCHMARK)),)
$(error BENCHMARK is '$(BENCHMARK)'; give the name of a benchmark, such as emoji)
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
# `notebooks` and `docs` are targets beside folders of the same name
.PHONY: help notebooks setup reproduce runs smoke test test-lowest test-everywhere bench lab report docs reference site pins audit clean FORCE

PY := .venv/bin/python
READY := .venv/ready
SITE_READY := .venv/site-ready
TOOLS_READY := .venv-tools/ready
# Files that a clock running ahead dated into the future would count as newer than all that is made from them.
$(shell find Makefile pyproject.toml constraints.txt requirements analysis_lib data_manifests notebooks studies executed \
	$(READY) $(TOOLS_READY) -newermt now -exec touch {} + 2>/dev/null)
rooms = $(foreach room,$(1),$(shell find analysis_lib/$(room) -name '*.py'))
# what makes runs, and what every notebook reads them with; its own studies are named below
MAKING := $(call rooms,core benchmarks models training methods runs) $(wildcard data_manifests/*)
READING := $(call rooms,analysis plots)
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
DONE := executed/$(BENCHMARK)
SETTINGS := benchmark=$(BENCHMARK) profile=$(PROFILE) seeds=$(SEEDS) device=$(DEVICE)

# Any machine can stand in for an older one: these variables forbid torch, oneDNN and MKL the newer instructions.
LEVEL_native :=
LEVEL_avx2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
LEVEL_lowest := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2
CROSS := native-1 native-2 avx2-1 avx2-2 lowest-1 lowest-2
# as_on: the environment of a setting such as avx2-2
as_on = $(LEVEL_$(word 1,$(subst -, ,$(1)))) OMP_NUM_THREADS=$(word 2,$(subst -, ,$(1)))
# A file or notebook stays in one process, so that what it makes once is made once.
PYTEST = $(PY) -m pytest --numprocesses=$(PROCESSES) --dist=loadfile
# test_as: the tests in an environment, then the notebooks in the project folder with the runs that the tests made.
# The folder is kept if something fails.
test_as = scratch=$$(mktemp -d) && env $(1) $(PYTEST) --no-loadscope-reorder --basetemp=$$scratch/tests tests $(2) && \
	env $(1) TQDM_DISABLE=1 FTC_ROOT=$$scratch/tests/digits $(PYTEST) --nbval-lax --nbval-current-env notebooks && \
	rm -rf $$scratch

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "settings: BENCHMARK=$(BENCHMARK) PROFILE=$(PROFILE) SEEDS=$(SEEDS) DEVICE=$(DEVICE)"

setup: $(READY)  ## make .venv with the pinned packages

# Every file that pip installs must have one of the hashes in the list; wheels alone, so that none runs a set-up of its own.
PIP := -m pip install --quiet --disable-pip-version-check
HASHED := $(PIP) --require-hashes --no-deps --only-binary :all: --requirement

# Of two at once the second waits, and finds it made. Without `ready` it begins anew: what a killed pip left looks whole.
$(READY): pyproject.toml constraints.txt requirements/setup.txt requirements/npm.txt
ifndef SETUP_LOCKED
	@SETUP_LOCKED=1 flock pyproject.toml $(MAKE) --no-print-directory $@
else
	@test -n "$(PYTHON)" || { echo "error: no python3 found; install Python 3.11 or set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(if $(wildcard $@),,--clear) .venv
	rm -f $@
	$(PY) $(HASHED) requirements/setup.txt
	# torch alone has no hash: it is built for CPUs and for each CUDA, and each build lies elsewhere under the same version
	$(PY) $(PIP) --constraint constraints.txt torch
	$(PY) $(PIP) --no-deps --no-build-isolation --editable .
	$(PY) -m pip check
	$(PY) -c 'from analysis_lib.core.torchvision_fix import install_at_startup; install_at_startup()'
	command -v npm >/dev/null || $(PY) $(HASHED) requirements/npm.txt
	touch $@
endif

reproduce: $(NOTEBOOKS:notebooks/%=$(DONE)/%)  ## run every notebook: results/, figures/ and executed/ of BENCHMARK
	@echo "done: read results/$(BENCHMARK)/, figures/$(BENCHMARK)/ and executed/$(BENCHMARK)/"

# One stamp per choice of settings; when the settings change, so does this file, and the notebooks run again.
$(DONE)/settings: FORCE
	@mkdir -p $(@D)
	@echo "$(SETTINGS)" | cmp -s - $@ || echo "$(SETTINGS)" > $@

# the manifest's head changes only if it names another network, and only then do the runs start again
ifneq ($(MODEL)$(WEIGHTS),)
data_manifests/$(BENCHMARK).json: $(READY) FORCE
	$(PY) -m analysis_lib manifest network $(BENCHMARK) $(if $(MODEL),--model $(MODEL)) --weights "$(or $(WEIGHTS),timm)" $(if $(IMAGE_SIZE),--image-size $(IMAGE_SIZE))
endif

# without quotes make starts the program itself: a shell in between would die of SIGTERM and leave the runs going
$(DONE)/runs: $(READY) $(MAKING) $(DONE)/settings
	$(PY) -m analysis_lib run $(BENCHMARK) --profile $(PROFILE) --seeds $(SEEDS) --device=$(DEVICE) --processes $(PROCESSES)
	touch $@

studies = $(1:%=analysis_lib/studies/%.py)
$(DONE)/01_fine_tuning.ipynb $(DONE)/03_softmax_decomposition.ipynb: $(call studies,accuracy)
$(DONE)/02_ncm_features.ipynb: $(call studies,accuracy features)
$(DONE)/04_weight_norms.ipynb: $(call studies,accuracy head calibration)
$(DONE)/05_calibration.ipynb: $(call studies,accuracy calibration label_shift posthoc uncertainty)
$(DONE)/06_gradient_similarity.ipynb: $(call studies,accuracy first_step gain_prediction gain_predictors gradient_features one_target)
$(DONE)/07_toy_example.ipynb: $(call rooms,studies/toy)
$(DONE)/08_ablations.ipynb: $(call studies,ablation_claims ablations fine_tuning_methods uncertainty) $(wildcard studies/*.json)
$(DONE)/09_gamma_estimators.ipynb: $(call studies,accuracy calibration estimator_grid label_shift shifted_pools)
$(DONE)/10_claims.ipynb: $(call studies,accuracy calibration claims first_step gain_prediction gain_predictors gradient_features head uncertainty)
$(DONE)/11_fine_tuning_methods.ipynb: $(call studies,accuracy calibration fine_tuning_methods method_costs method_differences uncertainty wise_curve)
$(DONE)/12_temporal_shift.ipynb: $(call studies,calibration temporal_differences temporal_shift uncertainty)
$(DONE)/13_petl.ipynb: $(call studies,calibration fine_tuning_methods method_costs method_differences petl petl_claims petl_complementarity petl_ensembles uncertainty wise_curve)

$(DONE)/%.ipynb: notebooks/%.ipynb $(DONE)/runs $(READING) $(call studies,__init__) analysis_lib/report/notebooks.py analysis_lib/report/reference.py
	$(PY) -m analysis_lib notebook $< $(SETTINGS)

runs: $(DONE)/runs  ## only the fine-tuning runs

# its networks are so small that a second thread slows them down; two notebooks at a time use the second core
smoke: $(READY)  ## the whole suite on digits, in a minute or two
	OMP_NUM_THREADS=1 $(MAKE) --jobs=2 reproduce BENCHMARK=digits PROFILE=smoke

test: $(READY)  ## unit, architecture and notebook tests
	$(PY) -m ruff check
	$(PY) -m ruff format --check --quiet
	$(call test_as,OMP_NUM_THREADS=1)

test-lowest: $(READY)  ## what trains, and the notebooks, as on the oldest processor
	$(call test_as,$(call as_on,lowest-1),-m trains)

test-everywhere: $(CROSS:%=test-on-%)  ## all tests on every processor level, with one thread and with two

test-on-%: $(READY)
	$(call test_as,$(call as_on,$*))

bench: $(READY)  ## speed and memory: one table of ratios measured in one run, and bench.json
	$(PY) bench/table.py

report: $(READY)  ## print the summary of BENCHMARK
	$(PY) -m analysis_lib report $(BENCHMARK)

docs: $(READY)  ## for maintainers: fill README.md and docs/ from the reference results
	$(PY) -m analysis_lib.report

reference: reproduce  ## for maintainers: make the results of BENCHMARK the reference, then fill the pages
	$(PY) -m analysis_lib.report $(BENCHMARK)

# while pip works `ready` is away, so that a killed one begins anew; its date stays, so nothing else is made again
$(SITE_READY): $(READY) requirements/site.txt
	mv $(READY) $(READY).away
	$(PY) $(HASHED) requirements/site.txt || { mv $(READY).away $(READY); exit 1; }
	mv $(READY).away $(READY)
	touch $@

site: $(SITE_READY)  ## static pages in site/: docs, executed notebooks of BENCHMARK, API reference
	$(PY) docs/site/build.py $(BENCHMARK)

notebooks: $(READY)  ## for maintainers: run notebooks in place on the smoke profile, keep only checked outputs
	TQDM_DISABLE=1 OMP_NUM_THREADS=1 $(PY) -m jupyter nbconvert --log-level=ERROR --to notebook --execute --inplace $(NOTEBOOKS)
	$(PY) -m nbstripout --keep-count --extra-keys "cell.metadata.execution metadata.language_info" $(NOTEBOOKS)

$(TOOLS_READY): requirements/tools.txt
	$(PYTHON) -m venv --clear .venv-tools
	.venv-tools/bin/python $(HASHED) requirements/tools.txt
	touch $@

pins: $(TOOLS_READY)  ## for maintainers: move every pin to the newest version, with hashes; then run the tests
	requirements/update $(PYTHON) .venv-tools/bin/uv

audit: $(READY) $(TOOLS_READY)  ## the licences of the installed packages, and known vulnerabilities of the pinned ones
	$(PY) requirements/licences.py
	.venv-tools/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

lab: $(READY)  ## open JupyterLab on the notebooks, with LAB_OPTIONS
	$(PY) -m jupyter lab $(LAB_OPTIONS) notebooks

clean:  ## remove runs, results, figures, executed notebooks and the site; keep .venv and downloads
	rm -rf runs derived results figures executed site .site.tmp
