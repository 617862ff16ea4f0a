"""Frames of a camera that its own electrical trigger fires, and the parts that MQTT announces."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edge_agent.camera.client import CameraProcess
from edge_agent.camera.messages import (
    BadFrame,
    CameraEvent,
    CameraLost,
    CameraOpened,
    FrameCaptured,
    FrameSkipped,
)
from edge_agent.capture import WAIT_S
from edge_agent.freshness import deadline_ns
from edge_agent.outbox_records import OpenTrigger
from edge_agent.pairing import KNOWN_WITHIN_NS, Pairing
from edge_agent.slots import Slots
from edge_agent.station import TriggerPart
from engines.errors import CameraError

log = logging.getLogger(__name__)


class PairedCapture:
    """Mode `hardware_triggered`: every frame is taken as it comes, and kept until its trigger is known.

    A camera that nobody fires is as silent as one that hangs. So it is given up when a part had no frame and none came
    until the part's deadline either.
    """

    def __init__(
        self,
        camera: CameraProcess,
        slots: Slots,
        limits: TriggerPart,
        next_event: Callable[[float], CameraEvent | None],
    ) -> None:
        self._camera, self._slots, self._limits, self._next_event = camera, slots, limits, next_event
        min_ms, max_ms = limits.pairing_window_ms
        self._pairing = Pairing(min_ms * 1_000_000, max_ms * 1_000_000, limits.deadline_ms * 1_000_000)
        self._doubted_until_ns: int | None = None
        self.overlapping_wait_ns = 0

    def expect(self, received_ns: int) -> None:
        self._pairing.expect(received_ns)

    def forget(self, received_ns: int) -> None:
        self._pairing.forget(received_ns)

    def refused(self, received_ns: int) -> None:
        self._pairing.done(received_ns)

    def note(self, event: CameraEvent | None) -> None:
        now_ns = time.monotonic_ns()
        match event:
            case CameraOpened():
                self._pairing.see_again(now_ns)
            case CameraLost():
                self._pairing.go_blind()
                self._doubted_until_ns = None
            case FrameCaptured() | BadFrame() | FrameSkipped():
                self._pairing.add(event)
                self._doubted_until_ns = None
            case _:
                pass
        for frame, nearest_ms in self._pairing.release(now_ns):
            log.warning("frame without a trigger frame_seq=%d ms_after_nearest_trigger=%s", frame.seq, nearest_ms)
        if self._doubted_until_ns is not None and now_ns >= self._doubted_until_ns:
            self._doubted_until_ns = None
            self._give_up()
        if self._camera.is_open:
            self._slots.request_all(self._pairing.held_slots())

    def frame_for(self, part: OpenTrigger) -> FrameCaptured | BadFrame | None:
        received_ns = part.trigger.received_ns
        self._wait(part, lambda: self._pairing.frame_of(received_ns) is not None)
        return self._pairing.frame_of(received_ns)

    def unfit(self, event: FrameCaptured | BadFrame | None, part: OpenTrigger) -> str | None:
        del event
        received_ns = part.trigger.received_ns
        self._wait(part, lambda: False)
        if time.monotonic_ns() < self._pairing.settles_ns(received_ns):
            return "deadline"
        if part.trigger.waited_ns > KNOWN_WITHIN_NS:
            # It came before it was read, nobody knows when: another frame may be its own.
            self._pairing.doubt(received_ns)
            return "ambiguous_pairing"
        reason = self._pairing.settle(received_ns)
        if reason == "no_frame" and self._camera.is_open:
            self._doubted_until_ns = received_ns + self._limits.deadline_ms * 1_000_000
        return reason

    def done(self, part: OpenTrigger) -> None:
        self._pairing.done(part.trigger.received_ns)
        self.note(None)

    def _wait(self, part: OpenTrigger, is_over: Callable[[], bool]) -> None:
        """Take what the camera sends until nothing can change any more, but not beyond the part's deadline."""
        received_ns, began_ns = part.trigger.received_ns, time.monotonic_ns()
        while not is_over():
            until_ns = min(self._pairing.settles_ns(received_ns), deadline_ns(part.trigger, self._limits))
            left_ns = until_ns - time.monotonic_ns()
            # Also what has already come by then is taken, however long the inference before took.
            if self._next_event(min(max(left_ns, 0) / 1e9, WAIT_S)) is None and left_ns <= 0:
                break
        self.overlapping_wait_ns += time.monotonic_ns() - began_ns

    def _give_up(self) -> None:
        min_ms, max_ms = self._limits.pairing_window_ms
        self._camera.give_up(
            CameraError(
                f"No frame came from {min_ms} to {max_ms} ms after a trigger, nor later until its deadline.",
                fix="Check the cable of the electrical trigger, the camera's trigger mode and its power.",
            )
        )
