# Everything a user or CI types; each target makes what it needs.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo real test test-all cluster check wheel sanitize bench kills fuzz evidence-bench niivue docs clean

KERNEL_TESTS := model/kernels model/test_fast_prediction.py model/test_fast_training.py model/test_sample.py
KERNEL := setup.py $(wildcard src/elsewhere/model/kernels/*.cpp src/elsewhere/model/kernels/*.h)

.venv/installed: pyproject.toml constraints.txt $(KERNEL)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || \
		{ rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment: apt install python3-venv, then make again"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/installed           ## simulated sites, nine models x four sites, both protocols, the page
	$(BIN)/elsewhere demo runs/demo

real: .venv/installed           ## the same commands on the real CT of ELSEWHERE_REAL_DATA
	$(BIN)/python benchmarks/real.py runs/real

test: .venv/installed           ## the fast tests (about 20 minutes on 2 cores)
	$(PYTEST) -m "not slow and not cluster"

test-all: .venv/installed       ## every test, the slow ones too
	$(PYTEST) -m "not cluster"

cluster: .venv/installed        ## the engines on Ray, and on Slurm where its daemons are (apt install slurmctld slurmd slurm-client munge)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,ray,slurm]'
	$(BIN)/python -m pytest -m cluster -rs tests/cluster

check: .venv/installed          ## lint, format, types, import contracts
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: .venv/installed          ## build the wheel, and run its tests on it instead of the checkout
	rm -rf build/wheel dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python -m pip install --quiet --no-deps --target build/wheel dist/*.whl
	cd tests && PYTHONPATH=../build/wheel ../$(BIN)/python -m pytest -q -c ../pyproject.toml test_cli.py studies/test_file.py pages model/test_fast_prediction.py model/kernels -m "not slow"
	cd tests && PYTHONPATH=../build/wheel ../$(BIN)/python -c "import elsewhere; assert 'build/wheel' in elsewhere.__file__, elsewhere.__file__"

SANITIZED := LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so) $$(g++ -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 ELSEWHERE_SANITIZE=1 PYTHONPATH=../build/sanitize/lib

sanitize: .venv/installed       ## the kernel tests under AddressSanitizer and UndefinedBehaviorSanitizer (needs g++)
	rm -rf build/sanitize
	CC=gcc CXX=g++ ELSEWHERE_SANITIZE=1 $(BIN)/python setup.py -q build --build-base build/sanitize --build-lib build/sanitize/lib
	cd tests && $(SANITIZED) ../$(BIN)/python -m pytest -q -c ../pyproject.toml $(KERNEL_TESTS)

bench: .venv/installed          ## speed and memory beside the usual libraries, as a table (15 minutes, machine idle)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	$(BIN)/python benchmarks/run.py --out docs/performance.md

kills: .venv/installed          ## fifty kills -9 of prepare, train and study; every byte compared at the end
	$(BIN)/python benchmarks/kills.py

fuzz: .venv/installed           ## damaged inputs of every format and record (15 minutes); seeds are printed
	$(BIN)/python tests/fuzz/run.py --minutes 15

evidence-bench: .venv/installed ## coverage of the intervals and type-I error of the tests, as tables (machine idle)
	$(BIN)/python benchmarks/evidence.py

niivue:                         ## the viewer's bundle anew from npm, pinned, and its hash checked
	src/elsewhere/pages/viewer/niivue/remake.sh

docs: .venv/installed           ## the documentation site, into site/
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build dist site src/*.egg-info
