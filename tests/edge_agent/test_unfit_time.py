import pytest

from edge_agent.camera.messages import FrameCaptured
from edge_agent.freshness import unfit_time
from edge_agent.inspection import Trigger

MS = 1_000_000
TRIGGER = Trigger("1", None, None, None, None, 100 * MS)


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
    assert unfit_time(event, TRIGGER, 50) == reason
