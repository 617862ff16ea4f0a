import pytest

from engines.schedule import LEARNING_RATE, TIMED_STEPS, Course, Schedule, first_rounded, learning_rate


def schedule(steps=None, minutes=None, *, qat=False):
    return Schedule(steps=steps, minutes=minutes, batch=4, seed=0, width=16, qat=qat)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def run(course, clock, durations):
    for seconds in durations:
        clock.now += seconds
        course.add(0.5)


def test_the_timed_steps_learn_alike_whatever_the_number_of_steps():
    assert len({tuple(learning_rate(step, n) for step in range(TIMED_STEPS)) for n in (None, 10, 21, 3000)}) == 1


def test_the_rate_rises_and_then_falls_to_a_hundredth():
    rates = [learning_rate(step, 500) for step in range(500)]
    assert rates[0] == pytest.approx(LEARNING_RATE / TIMED_STEPS)
    assert max(rates) == rates[TIMED_STEPS - 1] == rates[TIMED_STEPS] == LEARNING_RATE
    assert rates[TIMED_STEPS:] == sorted(rates[TIMED_STEPS:], reverse=True)
    assert rates[-1] == pytest.approx(0.01 * LEARNING_RATE, rel=0.01)


def test_minutes_fix_the_steps_after_the_timed_ones_and_slow_first_steps_do_not_count():
    clock = Clock()
    course = Course(schedule(minutes=1), clock=clock)
    run(course, clock, [2.0] * 5 + [0.1] * 14)
    assert course.steps is None
    assert not course.finished
    run(course, clock, [0.1])
    # 11.5 s are gone, 48.5 s are left.
    assert course.steps == TIMED_STEPS + 485


def test_minutes_that_are_over_end_with_the_timed_steps():
    clock = Clock()
    course = Course(schedule(minutes=0.01), clock=clock)
    run(course, clock, [1.0] * TIMED_STEPS)
    assert course.steps == TIMED_STEPS
    assert course.finished


@pytest.mark.parametrize(("left_s", "steps"), [(-5, 23), (2.5, 23), (3.5, 23), (4.5, 24)])
def test_the_first_step_that_rounds_is_none_of_those_that_are_timed(left_s, steps):
    clock = Clock()
    course = Course(schedule(minutes=(TIMED_STEPS + left_s) / 60, qat=True), clock=clock)
    run(course, clock, [1.0] * TIMED_STEPS)
    assert course.steps == steps
    assert first_rounded(course.steps) >= TIMED_STEPS


def test_a_course_that_is_resumed_keeps_its_steps_and_its_time():
    clock = Clock()
    course = Course(schedule(minutes=5), clock=clock)
    course.resume(steps=300, losses=[0.1] * 7, seconds=33.0)
    run(course, clock, [1.0] * 20)
    assert (course.step, course.steps, course.seconds) == (27, 300, 53.0)
