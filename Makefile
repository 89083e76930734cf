# Each target makes .venv, installs what it needs from pyproject.toml, and runs. Nothing else is needed beforehand.
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/quickstart

.PHONY: help quickstart test test-fast slow-tests lint docs wheel clean

help:
	@echo "make quickstart   render flowers, explain a small CNN, write $(RUN)/index.html"
	@echo "make test         run the tests (VITRINE_REAL_DATA=DIR adds those on real images)"
	@echo "make test-fast    run the tests that take less than half a second each"
	@echo "make slow-tests   run all tests and list those that take longer, in tests/slow_tests.txt"
	@echo "make lint         ruff and mypy"
	@echo "make docs         build the documentation site, runs/site/index.html"
	@echo "make wheel        build wheel and sdist in dist/, and try the wheel in an environment of its own"
	@echo "make clean        remove .venv, runs and rendered data"

.venv/.quickstart: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,synthetic]'
	touch $@

.venv/.test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,synthetic,timm,hf,serve,onnx,dev]'
	# Outside implementations to test against; what they declare to need is not what they run on (lxt: bitsandbytes, open_clip),
	# or writes over OpenCV's headless folder (quantus: opencv-python).
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'lxt>=2.1,<3' 'quantus>=0.6,<0.7'
	touch $@ .venv/.quickstart

.venv/.docs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,docs]'
	touch $@

quickstart: .venv/.quickstart
	$(BIN)/python -m vitrine.an8flower --variant single-6c --out data/an8flower-small --views 20 --size 96 --crops 2 \
		--rotations 2 --crop-size 80 --if-missing
	$(BIN)/python train.py fit -c configs/quickstart.yaml --overwrite true
	$(BIN)/python train.py test -c configs/quickstart.yaml
	@echo "Open $(CURDIR)/$(RUN)/index.html"

# The tests run on all cores, and each of the processes that they start on one.
test test-fast slow-tests: export OMP_NUM_THREADS ?= 1

test: .venv/.test
	$(BIN)/python -m pytest -n auto --dist worksteal

test-fast: .venv/.test
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" --durations=10

slow-tests: .venv/.test
	$(BIN)/python -m pytest -n auto --dist worksteal --record-slow

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: export NO_MKDOCS_2_WARNING ?= 1
docs: .venv/.docs
	$(BIN)/python -m mkdocs build --strict --quiet --config-file .mkdocs.yml
	@echo "Open $(CURDIR)/runs/site/index.html; with its search: $(BIN)/python -m http.server -d runs/site"

wheel: .venv/.test
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python .ci/try_wheel.py dist

clean:
	rm -rf .venv runs data dist
