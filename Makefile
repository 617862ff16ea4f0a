# make demo    the whole way on a synthetic part: record, train, fit, run, report
# make test    the tests
# make check   what CI runs: ruff, mypy and the tests, the gate among them
# make chaos   hours: 500 kills, 100,000 parts and 500,000 frames on a whole line; continues where it was
# make gate    fetch what builds engines without a GPU, TensorRT's bindings, and OpenCV 4.8
# make opencv4 the contracts of cameras and engines on OpenCV 4.8 and numpy 1, as on JetPack 6
#
# PYTHON=python3.12       another interpreter (3.10 to 3.13; training needs 3.11 or newer)
# TORCH_INDEX=URL         where pip looks for torch first, for example PyTorch's index of CPU builds

PYTHON ?= python3
TORCH_INDEX ?=
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test check chaos lint gate opencv4 mosquitto clean

demo: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash demo/run

test: $(READY) mosquitto
	$(BIN)/pytest

check: $(READY) lint gate opencv4 test

chaos: $(READY) mosquitto
	PYTHONPATH=tests:benchmarks nice -n 10 $(BIN)/python -m chaos

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(READY): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || { \
		echo "Python 3.10 to 3.13 is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try make PYTHON=python3.12."; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --editable '.[cv,train,tensorboard,broker,dev]'
	@touch $@

gate: $(READY)
	-$(BIN)/python tests/structure/fetch.py .cache

opencv4: $(READY) gate
	@if [ -d .cache/opencv-4.8 ]; then \
		PYTHONPATH=.cache/opencv-4.8 $(BIN)/pytest tests/contract tests/edge_agent/test_decision.py; \
		else echo "OpenCV 4.8 is not there, so nothing was tried on it: run make gate where pip reaches an index" \
			"(Python 3.13 has no wheel of the numpy 1 that it needs)."; fi

mosquitto:
	@if ! PATH="$$PATH:/usr/sbin" command -v mosquitto >/dev/null; then \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq mosquitto >/dev/null; \
		elif sudo -n true 2>/dev/null; then sudo apt-get update -qq && sudo apt-get install -y -qq mosquitto >/dev/null; \
		else echo "Mosquitto is missing: the tests that need a broker will be skipped." \
			"Install it with: sudo apt-get install mosquitto"; fi; fi

clean:
	rm -rf .venv demo/work build *.egg-info
