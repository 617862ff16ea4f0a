"""Waiting for what a camera process tells."""

import time

import pytest


def wait_event(camera, kind=object, limit_s=30.0):
    """Return the next event, which must be of a kind."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        event = camera.next_event(0.25)
        if event is not None:
            assert isinstance(event, kind), event
            return event
    pytest.fail(f"no event within {limit_s} s")


def wait_for(camera, kind, limit_s=30.0):
    """Return the next event of a kind, whatever comes before it."""
    deadline = time.monotonic() + limit_s
    while not isinstance(event := camera.next_event(0.25), kind):
        assert time.monotonic() < deadline, f"no {kind} within {limit_s} s"
    return event
