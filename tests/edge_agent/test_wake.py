"""A wake-up is never lost and never waits."""

import select
from contextlib import closing

import pytest

from edge_agent.wake import WakePipe


@pytest.fixture
def pipe():
    with closing(WakePipe()) as pipe:
        yield pipe


def is_awake(pipe):
    return bool(select.select([pipe.fileno()], [], [], 0)[0])


def test_a_wake_up_before_the_wait_ends_it_and_several_are_one(pipe):
    assert not is_awake(pipe)
    pipe.wake()
    pipe.wake()
    assert is_awake(pipe)
    pipe.clear()
    assert not is_awake(pipe)
    pipe.clear()


def test_more_wake_ups_than_the_pipe_holds_never_wait(pipe):
    for _ in range(100_000):
        pipe.wake()
    assert is_awake(pipe)
