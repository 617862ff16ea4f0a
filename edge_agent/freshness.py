"""How long a part can wait, and does a frame show it? All times are CLOCK_MONOTONIC."""

from __future__ import annotations

import math

from edge_agent.camera.messages import FrameCaptured
from edge_agent.inspection import Trigger
from edge_agent.station import TriggerPart


def deadline_ns(trigger: Trigger, limits: TriggerPart) -> int:
    """Return when a part must have its verdict: the smaller of the station's and the trigger's limit counts."""
    expires_ms = limits.deadline_ms if trigger.expires_ms is None else trigger.expires_ms
    return trigger.came_ns + min(limits.deadline_ms, expires_ms) * 1_000_000


def too_late(trigger: Trigger, limits: TriggerPart, now_ns: int) -> str | None:
    """Return why a part need not be looked at any more, None if it is in time."""
    if trigger.expires_ms is not None and now_ns >= trigger.came_ns + trigger.expires_ms * 1_000_000:
        return "expired"
    if now_ns >= deadline_ns(trigger, limits):
        return "deadline"
    return "late_frame" if now_ns >= _capture_until_ns(trigger, limits) else None


def _capture_until_ns(trigger: Trigger, limits: TriggerPart) -> float:
    """Return the time after which the part has moved on; never, where the camera's own trigger says when it is there."""
    if limits.capture_within_ms is None:
        return math.inf
    return trigger.came_ns + limits.capture_within_ms * 1_000_000


def unfit_time(event: FrameCaptured, trigger: Trigger, limits: TriggerPart) -> str | None:
    """Return why a frame may not show the part, None if it does.

    Returns:
        `stale_frame` for one that was grabbed before the trigger came, `late_frame` for one of a part that has moved on.
    """
    if event.grab_began_ns < trigger.received_ns:
        return "stale_frame"
    return "late_frame" if event.captured_ns > _capture_until_ns(trigger, limits) else None
