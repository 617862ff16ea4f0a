import queue
import time

import pytest

from edge_agent.deadline_timer import DeadlineTimer
from edge_agent.inspection import Trigger
from edge_agent.outbox_records import OpenTrigger


def part(number):
    return OpenTrigger(number, Trigger(str(number), None, None, None, None, time.monotonic_ns()))


def in_ms(milliseconds):
    return time.monotonic_ns() + milliseconds * 1_000_000


@pytest.fixture
def overdue():
    return queue.Queue()


@pytest.fixture
def timer(overdue):
    timer = DeadlineTimer(lambda part: overdue.put((part.trigger_id, time.monotonic_ns())))
    timer.start()
    yield timer
    timer.stop()


def test_an_overdue_part_is_called_back_once_and_not_early(timer, overdue):
    deadline_ns = in_ms(30)
    timer.watch(part(1), deadline_ns)
    number, at_ns = overdue.get(timeout=5)
    assert number == 1
    assert at_ns >= deadline_ns
    with pytest.raises(queue.Empty):
        overdue.get(timeout=0.05)


def test_a_part_with_a_verdict_is_not_called_back(timer, overdue):
    first, second = part(1), part(2)
    timer.watch(first, in_ms(30))
    timer.watch(second, in_ms(60))
    timer.forget(first)
    assert overdue.get(timeout=5)[0] == 2


def test_a_later_part_with_an_earlier_deadline_comes_first(timer, overdue):
    timer.watch(part(1), in_ms(5000))
    timer.watch(part(2), in_ms(10))
    assert overdue.get(timeout=2)[0] == 2


def test_a_failing_answer_does_not_stop_the_timer(overdue):
    def answer(part):
        if part.trigger_id == 1:
            raise ZeroDivisionError
        overdue.put(part.trigger_id)

    timer = DeadlineTimer(answer)
    timer.start()
    timer.watch(part(1), in_ms(1))
    timer.watch(part(2), in_ms(20))
    assert overdue.get(timeout=5) == 2
    timer.stop()


def test_after_stop_nothing_is_called_back(timer, overdue):
    timer.watch(part(1), in_ms(50))
    timer.stop()
    with pytest.raises(queue.Empty):
        overdue.get(timeout=0.15)
