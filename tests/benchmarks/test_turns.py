"""A command and an inference in turns: only the command's own time counts, in the pace of the moment."""

import sys
import time

import pytest
from turns import take_turns

WORK = """
import sys, time
def work(until_s):
    while time.process_time() < until_s:
        pass
work(0.3)
print("reading     \\u2501\\u2501\\u2501 5/5 0:00:00", flush=True)
print("location and scale     \\u2501\\u2501 1/5 0:00:01", flush=True)
work(0.6)
print("location and scale     \\u2501\\u2501\\u2501 5/5 0:00:00", flush=True)
sys.exit(int(sys.argv[1]))
"""


TURN_S, RATE = 0.2, 10.0


class Steady:
    """An inference that says how often it was asked."""

    def __init__(self):
        self.turns = 0

    def run(self, seconds):
        self.turns += 1
        time.sleep(TURN_S)
        return RATE


@pytest.mark.parametrize("code", [0, 65])
def test_the_parts_of_a_command_cost_what_inference_would_have_done(tmp_path, code):
    inference = Steady()
    began = time.perf_counter()
    turns = take_turns([sys.executable, "-c", WORK, str(code)], inference, tmp_path / "log", turn_s=0.1)
    passed = time.perf_counter() - began
    assert turns.code == code
    assert sum(turns.cost_frames.values()) / RATE <= passed - inference.turns * TURN_S
    assert list(turns.cost_frames) == ["reading", "location and scale", "saving"]
    assert turns.cost_frames["reading"] >= 0.29 * RATE
    assert turns.cost_frames["location and scale"] >= 0.29 * RATE
    assert turns.median_inference_ms == pytest.approx(1000 / RATE)
    assert inference.turns > 4
    assert turns.peak_mb > 1
    assert "5/5" in turns.said
