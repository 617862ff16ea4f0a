"""From a trigger to the frame that shows its part, where MQTT triggers the camera."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from edge_agent.camera.messages import BadFrame, CameraEvent, CameraLost, FrameCaptured, FramesEnded
from edge_agent.freshness import deadline_ns, unfit_time
from edge_agent.outbox_records import OpenTrigger
from edge_agent.slots import Slots
from edge_agent.station import TriggerPart

WAIT_S = 0.25


class Capture(Protocol):
    """How frames and parts find each other; the first three are for MQTT's thread, the rest for the inspection.

    Attributes:
        overlapping_wait_ns: How long it has waited so far for what comes by itself; the parts behind waited meanwhile, too.
    """

    overlapping_wait_ns: int

    def expect(self, received_ns: int) -> None:
        """Note a trigger at once, before it is even understood."""

    def forget(self, received_ns: int) -> None:
        """Take that back: it was no new part."""

    def refused(self, received_ns: int) -> None:
        """Say that its part will not be looked at, though it is there."""

    def note(self, event: CameraEvent | None) -> None:
        """See every event of the camera, and None at least four times a second while there is none."""

    def frame_for(self, part: OpenTrigger) -> FrameCaptured | BadFrame | None:
        """Wait for a part's frame; None if the camera has none in time."""

    def unfit(self, event: FrameCaptured | BadFrame | None, part: OpenTrigger) -> str | None:
        """Return why what `frame_for` gave may not show the part; to be asked after the frame was judged."""

    def done(self, part: OpenTrigger) -> None:
        """Say that a part has its verdict, whether or not it was looked at."""


class FreshCapture:
    """Mode `triggered`: a frame is asked for when its part has come, and must be newer than the trigger."""

    def __init__(self, slots: Slots, limits: TriggerPart, next_event: Callable[[float], CameraEvent | None]) -> None:
        self._slots, self._limits, self._next_event = slots, limits, next_event
        # Each frame is asked for when the part before has its verdict.
        self.overlapping_wait_ns = 0

    def expect(self, received_ns: int) -> None:
        del received_ns

    def forget(self, received_ns: int) -> None:
        del received_ns

    def refused(self, received_ns: int) -> None:
        del received_ns

    def note(self, event: CameraEvent | None) -> None:
        del event

    def frame_for(self, part: OpenTrigger) -> FrameCaptured | BadFrame | None:
        until_ns = deadline_ns(part.trigger, self._limits)
        request = self._slots.request(newer_than_ns=part.trigger.received_ns)
        if request is None:
            return None
        while (left_ns := until_ns - time.monotonic_ns()) > 0:
            match event := self._next_event(min(left_ns / 1e9, WAIT_S)):
                case FrameCaptured() | BadFrame() if event.request == request:
                    return event
                case FramesEnded() if event.request == request:
                    return None
                case CameraLost() if request in event.requests:
                    return None
                case _:
                    pass
        return None

    def unfit(self, event: FrameCaptured | BadFrame | None, part: OpenTrigger) -> str | None:
        return unfit_time(event, part.trigger, self._limits) if isinstance(event, FrameCaptured) else None

    def done(self, part: OpenTrigger) -> None:
        del part
