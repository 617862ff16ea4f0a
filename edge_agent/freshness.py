"""Does a frame show the part that was asked about? All times are CLOCK_MONOTONIC."""

from __future__ import annotations

from edge_agent.camera.messages import FrameCaptured
from edge_agent.inspection import Trigger


def capture_until_ns(trigger: Trigger, capture_within_ms: int) -> int:
    """Return the time after which the part has moved on."""
    return trigger.received_ns + capture_within_ms * 1_000_000


def unfit_time(event: FrameCaptured, trigger: Trigger, capture_within_ms: int) -> str | None:
    """Return why a frame may not show the part, None if it does.

    Returns:
        `stale_frame` for one that was grabbed before the trigger came, `late_frame` for one of a part that has moved on.
    """
    if event.grab_began_ns < trigger.received_ns:
        return "stale_frame"
    return "late_frame" if event.captured_ns > capture_until_ns(trigger, capture_within_ms) else None
