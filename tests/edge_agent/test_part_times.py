"""Times at their boundaries: when a part has waited too long, and which frame shows it."""

from dataclasses import replace

import pytest

from edge_agent.camera.messages import FrameCaptured
from edge_agent.freshness import deadline_ns, too_late, unfit_time
from edge_agent.inspection import Trigger
from edge_agent.station import TriggerPart

MS = 1_000_000
TRIGGER = Trigger("1", None, None, None, None, 100 * MS)
LIMITS = TriggerPart(deadline_ms=200, capture_within_ms=50, dedupe_window_s=60.0)


@pytest.mark.parametrize(
    ("began_ms", "captured_ms", "reason"),
    [
        (100, 105, None),
        (100, 150, None),
        (99.999, 105, "stale_frame"),
        (20, 30, "stale_frame"),
        (100, 150.001, "late_frame"),
        (400, 410, "late_frame"),
    ],
)
def test_only_a_frame_from_between_trigger_and_limit_shows_the_part(began_ms, captured_ms, reason):
    event = FrameCaptured(0, 0, 2, int(began_ms * MS), int(captured_ms * MS), int(captured_ms * MS), "frame", 0)
    assert unfit_time(event, TRIGGER, LIMITS) == reason


@pytest.mark.parametrize(("expires_ms", "until_ms"), [(None, 300), (500, 300), (200, 300), (120, 220)])
def test_the_smaller_limit_counts(expires_ms, until_ms):
    assert deadline_ns(replace(TRIGGER, expires_ms=expires_ms), LIMITS) == until_ms * MS


@pytest.mark.parametrize(
    ("expires_ms", "now_ms", "reason"),
    [
        (None, 149.999, None),
        (None, 150, "late_frame"),
        (None, 300, "deadline"),
        (40, 139.999, None),
        (40, 140, "expired"),
        (900, 300, "deadline"),
    ],
)
def test_a_part_that_has_waited_too_long_is_not_looked_at(expires_ms, now_ms, reason):
    assert too_late(replace(TRIGGER, expires_ms=expires_ms), LIMITS, int(now_ms * MS)) == reason


def test_what_a_part_can_wait_counts_from_when_it_came_and_its_frame_from_when_that_was_read():
    held_up = replace(TRIGGER, received_ns=130 * MS, waited_ns=30 * MS)
    assert deadline_ns(held_up, LIMITS) == 300 * MS
    assert too_late(held_up, LIMITS, 150 * MS) == "late_frame"

    def frame(ms):
        return FrameCaptured(0, 0, 2, ms * MS, ms * MS, ms * MS, "frame", 0)

    assert unfit_time(frame(129), held_up, LIMITS) == "stale_frame"
    assert unfit_time(frame(150), held_up, LIMITS) is None
    assert unfit_time(frame(151), held_up, LIMITS) == "late_frame"
