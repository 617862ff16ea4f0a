"""How serious a line is, in the journal's words."""

import logging
import sys

import pytest

from edge_agent.journal import JournalFormatter


def record(level, message, problem=None):
    trace = (type(problem), problem, problem.__traceback__) if problem else None
    return logging.LogRecord("agent", level, __file__, 1, message, None, trace)


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.DEBUG, 7),
        (logging.INFO, 6),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
        (logging.CRITICAL, 3),
    ],
)
def test_every_level_has_its_priority(level, priority):
    assert JournalFormatter("%(message)s").format(record(level, "x")) == f"<{priority}>x"


def test_every_line_of_a_traceback_has_it_too():
    try:
        sys.intern(1)
    except TypeError as problem:
        lines = JournalFormatter("%(message)s").format(record(logging.ERROR, "failed", problem)).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)
