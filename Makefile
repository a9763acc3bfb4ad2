# make quick   run the comparison on embedded data: minutes on two CPU cores
# make test    run the tests
# Both first install what they need into .venv. `make help` lists all targets.

PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export OMP_NUM_THREADS ?= 1

.PHONY: help install docs reference publish quick quick-full smoke smoke-full notebooks test test-slurm stress bench bench-check lint format lock clean
.DEFAULT_GOAL := help

help:
	@echo "make quick       run the comparison on embedded data and show its table"
	@echo "make quick-full  make every table and figure of the paper, and more, on embedded data; takes an hour"
	@echo "make reference   train results/reference again and compare; takes hours"
	@echo "make test        run the tests"
	@echo "make test-slurm  run jobs on a real Slurm that is started on this machine; needs root"
	@echo "make stress      kill trainings and workflows at random times; takes a few minutes"
	@echo "make bench       measure what grows with the data, and the step of every method"
	@echo "make bench-check say which ratios fell by more than 10 % since they were committed"
	@echo "make smoke       run the jobs of quick in tiny form; the numbers mean nothing"
	@echo "make smoke-full  run the jobs of quick-full in tiny form, with one seed"
	@echo "make notebooks   run the notebooks on the results of smoke-full"
	@echo "make docs        build the documentation as web pages, in site/"
	@echo "make lint        check style, types and the workflow"
	@echo "make format      format all files in the project's style"
	@echo "make lock        write requirements.lock from pyproject.toml (needs uv)"
	@echo "make clean       remove results, caches and logs of quick and smoke, but no training"

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python >= 3.11 is needed, $(PYTHON) is %d.%d; use make PYTHON=..." % v[:2])'
	$(PYTHON) -m venv $(VENV)
	@echo "installing the pinned dependencies: about 6 GB, which takes some minutes"
	$(VENV)/bin/python -m pip install --quiet -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

quick: install
	snakemake --cores all --config protocol=quick

smoke: install
	snakemake --cores all --config protocol=smoke

quick-full: install
	snakemake --cores all all paper --config protocol=quick

smoke-full: install
	snakemake --cores all all paper --config protocol=smoke seeds=[0]

# Trains in a store of its own, so that imported results are not found there.
REFERENCE := results/reference
reference: install
	snakemake --cores all --config protocol=standard store=store-reference
	mdkd report document default --protocol standard --set store=store-reference
	mdkd store compare $(REFERENCE)/store --protocol standard --set store=store-reference

# After `make reference`: what is committed of it.
publish: install
	rm -rf $(REFERENCE) && mkdir -p $(REFERENCE)
	mdkd store export $(REFERENCE)/store --protocol standard --set store=store-reference \
		--predictions comparison
	cp -r results/standard/tables results/standard/figures results/standard/metrics.csv \
		results/standard/explore.html $(REFERENCE)
	cp results/standard/default.pdf $(REFERENCE)/all.pdf

notebooks: install
	MDKD_PROTOCOL=smoke pytest --nbmake notebooks

# Two processes, each with whole files: a file's fixtures train networks once.
WORKERS ?= 2
test: install
	pytest -n $(WORKERS) --dist loadfile

# Debian and Ubuntu: apt-get install --no-install-recommends slurm-wlm
test-slurm: install
	pytest -m slurm tests/slurm

stress: install
	python tests/stress.py $(STRESS)

bench: install
	python -m benchmarks

bench-check: install
	python -m benchmarks --check

docs: install
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet

lint: install
	ruff check
	ruff format --check
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

format: install
	ruff check --fix
	ruff format
	snakefmt Snakefile workflow

lock:
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header \
		pyproject.toml --output-file requirements.lock

# The store is left alone, because all protocols keep their trainings in it. `mdkd store prune` shows
# what no protocol uses. After `rm -rf store`, everything is trained again.
clean:
	rm -rf $(foreach d,results cache logs,$(d)/quick $(d)/smoke)
