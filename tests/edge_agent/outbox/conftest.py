"""An outbox that can be opened again, at a time that the test sets."""

import pytest
from outbox_steps import WINDOW_S, FakeTime

from edge_agent.outbox import Outbox


@pytest.fixture
def now():
    return FakeTime()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.sqlite3"


@pytest.fixture
def open_outbox(path, now):
    opened = []

    def open_one():
        opened.append(Outbox(path, dedupe_window_s=WINDOW_S, clock=now.clock))
        return opened[-1]

    yield open_one
    for outbox in opened:
        outbox.close()


@pytest.fixture
def outbox(open_outbox):
    return open_outbox()
