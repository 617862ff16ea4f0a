# make demo    the whole way on a synthetic part: record, train, fit, run, report
# make test    the tests
# make check   what CI runs: ruff, mypy and the tests, the gate among them
# make chaos   hours: 500 kills, 200 random walks, 100,000 parts and 500,000 frames on a whole line; continues where it was
# make gate    fetch what builds engines without a GPU, TensorRT's bindings, and OpenCV 4.8
# make opencv4 the contracts of cameras and engines on OpenCV 4.8 and numpy 1, as on JetPack 6
# make gige    cameras on the system's OpenCV: GStreamer, RTSP, and a fake GigE Vision camera
#
# sudo make install-service STATION=FILE   make the station of that file a service (docs/operations.md)
# sudo make uninstall-service              remove the service, and leave all data; with STATION=NAME that station only
#
# PYTHON=python3.12       another interpreter (3.10 to 3.13; training needs 3.11 or newer)
# TORCH_INDEX=URL         where pip looks for torch first, for example PyTorch's index of CPU builds
# DESTDIR=DIR             install the service into this folder, and start nothing

PYTHON ?= python3
TORCH_INDEX ?=
BIN := .venv/bin
READY := .venv/ready
PYTEST := $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
PROGRAMS = $(DESTDIR)/opt/edge-agent/.venv/bin

.PHONY: demo test check chaos lint gate opencv4 gige mosquitto systemd install-service uninstall-service clean

demo: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash demo/run

test: $(READY) mosquitto systemd
	$(PYTEST)

check: $(READY) lint gate opencv4 gige test

chaos: $(READY) mosquitto
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[chaos]'
	PYTHONPATH=.:tests:benchmarks nice -n 10 $(BIN)/python -m chaos

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
		PYTHONPATH=.cache/opencv-4.8 $(PYTEST) tests/contract tests/edge_agent/test_decision.py; \
		else echo "OpenCV 4.8 is not there, so nothing was tried on it: run make gate where pip reaches an index" \
			"(Python 3.13 has no wheel of the numpy 1 that it needs)."; fi

gige:
	@bash tests/gige/run

# program, Debian's package of it, what is skipped without it
define fetch_tool
	@if ! PATH="$$PATH:/usr/sbin" command -v $(1) >/dev/null; then \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq $(2) >/dev/null; \
		elif sudo -n true 2>/dev/null; then sudo apt-get update -qq && sudo apt-get install -y -qq $(2) >/dev/null; \
		else echo "$(1) is missing: $(3) will be skipped. Install it with: sudo apt-get install $(2)"; fi; fi
endef

mosquitto:
	$(call fetch_tool,mosquitto,mosquitto,the tests that need a broker)

systemd:
	$(call fetch_tool,systemd-analyze,systemd,the tests of the unit)

install-service:
	@test -n "$(STATION)" || { echo "Say which station: sudo make install-service STATION=/path/to/station.yaml"; exit 64; }
	@test -x $(PROGRAMS)/edge-agent || { echo "$(PROGRAMS)/edge-agent is missing. Install the program first: docs/operations.md."; exit 66; }
	@$(PROGRAMS)/python -B systemd/install.py "$(STATION)" $(if $(DESTDIR),--destdir "$(DESTDIR)")

uninstall-service:
	@$(PYTHON) -B systemd/uninstall.py $(if $(STATION),"$(STATION)") $(if $(DESTDIR),--destdir "$(DESTDIR)")

clean:
	rm -rf .venv demo/work build *.egg-info
