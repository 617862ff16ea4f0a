"""A command and an inference in turns: only the command's own time counts, in the pace of the moment."""

import sys

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


class Steady:
    """An inference of ten frames a second, which says how often it was asked."""

    def __init__(self):
        self.turns = 0

    def run(self, seconds):
        self.turns += 1
        return 10.0


@pytest.mark.parametrize("code", [0, 65])
def test_the_parts_of_a_command_cost_what_inference_would_have_done(tmp_path, code):
    inference = Steady()
    turns = take_turns([sys.executable, "-c", WORK, str(code)], inference, tmp_path / "log", turn_s=0.1)
    assert turns.code == code
    assert list(turns.cost_frames) == ["reading", "location and scale", "saving"]
    assert turns.cost_frames["reading"] >= 3 * 0.9
    assert turns.cost_frames["location and scale"] >= 3 * 0.9
    assert turns.median_inference_ms == pytest.approx(100)
    assert inference.turns > 4
    assert turns.peak_mb > 1
    assert "5/5" in turns.said
