"""A short soak; `make chaos` has the long one."""

import os
import re
import subprocess
from contextlib import closing
from pathlib import Path

from running_station import COMMAND

from chaos.blocks import run_freely_in_blocks
from chaos.conftest import CAMERA
from chaos.usage import usage_of

_PARTS, _WARM_PARTS = 300, 50
_MOST_GROWTH_MB = 4.0


def test_memory_threads_and_descriptors_stay(line):
    usage = []
    for number in range(_PARTS):
        line.plc.ask()
        if number >= _WARM_PARTS and number % _WARM_PARTS == 0:
            usage.append((usage_of(line.pid), usage_of(line.camera_pid())))
    line.check()
    for first, last in zip(usage[0], usage[-1], strict=True):
        assert last.memory_mb - first.memory_mb < _MOST_GROWTH_MB
        assert last.threads <= first.threads
        assert last.descriptors <= first.descriptors + 1


def test_every_frame_of_free_run_is_delivered_and_acknowledged(tmp_path, fitted_recipe):
    with closing(run_freely_in_blocks(fitted_recipe, tmp_path, CAMERA, 50)) as blocks:
        for _ in range(2):
            figures = next(blocks)
            assert (figures["frames"], figures["delivered"], figures["waiting"]) == (50, 50, 0)


def test_the_long_round_finds_the_program_before_the_tests_of_its_name():
    root = Path(__file__).parents[2]
    told = subprocess.run(["make", "--dry-run", "chaos"], cwd=root, capture_output=True, text=True, check=True).stdout
    environment = {**os.environ, "PYTHONPATH": re.search(r"PYTHONPATH=(\S+) .*-m chaos", told)[1]}
    done = subprocess.run([COMMAND, "run", "--help"], cwd=root, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
