"""An engine that fails for a moment costs some parts; one that is dead costs a restart; neither costs the night."""

import pytest

from edge_agent.engine_watch import AGAIN_S, EVERY_S, EngineWatch
from engines.errors import EngineError, NotRejectedError

FAILED = EngineError("CUDA error 700.", fix="Restart.")
PASSED = NotRejectedError("the test piece was not rejected.", fix="Fit again.")


class Scripted:
    """In place of a recipe and of the state: what the next test pieces come to, and which faults there are."""

    def __init__(self, *outcomes):
        self.outcomes, self.faults, self.tests = list(outcomes), {}, 0

    def run_test_piece(self):
        self.tests += 1
        if (problem := self.outcomes.pop(0)) is not None:
            raise problem

    def has_fault(self, reason):
        return reason in self.faults

    def set_fault(self, reason, problem):
        self.faults[reason] = problem

    def clear_fault(self, reason):
        self.faults.pop(reason, None)


class Bench:
    def __init__(self, *outcomes):
        self.script, self.now = Scripted(*outcomes), 0.0
        self.watch = EngineWatch(self.script, self.script, clock=lambda: self.now)

    def look_after(self, seconds):
        self.now += seconds
        self.watch.look()
        return list(self.script.faults)


def test_a_test_piece_runs_at_the_start_and_every_ten_minutes():
    bench = Bench(None, None)
    assert [bench.look_after(s) for s in (0, 1, EVERY_S - 2, 1)] == [[]] * 4
    assert bench.script.tests == 2


def test_an_engine_that_failed_a_part_is_tested_at_once_and_heals():
    bench = Bench(None, FAILED, FAILED, None)
    bench.look_after(0)
    bench.watch.part_failed()
    assert bench.look_after(0.1) == ["engine"]
    assert bench.look_after(AGAIN_S) == ["engine"]
    assert bench.look_after(AGAIN_S) == []


def test_an_engine_that_goes_on_failing_ends_the_process():
    bench = Bench(FAILED, FAILED, FAILED)
    bench.look_after(0)
    bench.look_after(AGAIN_S)
    with pytest.raises(EngineError, match="CUDA error 700"):
        bench.look_after(AGAIN_S)


@pytest.mark.parametrize(("apart_s", "ends"), [(EVERY_S / 3, True), (EVERY_S / 2, False)])
def test_an_engine_that_goes_on_failing_parts_ends_the_process_though_test_pieces_pass(apart_s, ends):
    bench = Bench(*[None] * 20)
    for _ in range(2):
        bench.watch.part_failed()
        assert bench.look_after(apart_s) == []
    bench.watch.part_failed()
    if ends:
        with pytest.raises(EngineError, match="3 parts within 10 minutes"):
            bench.look_after(0)
    else:
        assert bench.look_after(0) == []


def test_a_bad_part_that_is_not_rejected_waits_for_a_person():
    bench = Bench(PASSED, None)
    assert bench.look_after(0) == ["test_piece"]
    assert bench.look_after(EVERY_S) == ["test_piece"]
    bench.script.clear_fault("test_piece")
    assert bench.look_after(EVERY_S) == []
