"""From a captured frame to a judgement. Whatever goes wrong with one frame is caught here, and is INVALID."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from edge_agent.camera.messages import BadFrame, FrameCaptured
from edge_agent.decision import Decision, decide
from edge_agent.frame_limits import check_frame
from edge_agent.live_recipe import LiveRecipe
from edge_agent.ring import FrameRing
from engines.errors import EngineError, FrameError
from engines.images import Frame
from engines.runtime import Maps

log = logging.getLogger(__name__)

_ROW_STEP = 8


@dataclass
class Judgement:
    """What the pipeline says of one frame: a decision, or the reason why there is none. Times are in ns by stage.

    `maps`, (K, h, w) float32, are the runtime's until its next inference; None where there are none.
    """

    decision: Decision | None = None
    maps: Maps | None = field(default=None, repr=False)
    reason: str | None = None
    message: str = ""
    stage_ns: dict[str, int] = field(default_factory=dict)


class Pipeline:
    """The ring, the engine that reads it in place, and the decision; made before a camera writes into the ring.

    With `refuses_repeats` a frame that equals the one before it is INVALID: a live sensor's noise never repeats, so the
    camera or its driver is frozen.
    """

    def __init__(self, live: LiveRecipe, ring: FrameRing) -> None:
        live.bind(ring)
        for slot in range(len(ring)):
            live.verify_slot(ring, slot)
        self.live = live
        self._ring = ring
        self._last_checksum: int | None = None
        self.refuses_repeats = False

    def judge(self, event: FrameCaptured | BadFrame) -> Judgement:
        """Judge what the camera delivered; never raises for a frame."""
        if isinstance(event, BadFrame):
            return Judgement(reason=event.reason, message=event.message)
        judgement = Judgement(stage_ns={"retrieve": event.written_ns - event.captured_ns})
        try:
            self._decide(event, judgement)
        except FrameError as problem:
            judgement.reason, judgement.message = problem.reason, str(problem)
        except EngineError as problem:
            judgement.reason, judgement.message = "engine_error", str(problem)
        except Exception as problem:
            log.exception("frame seq=%d could not be judged", event.seq)
            judgement.reason, judgement.message = "internal_error", repr(problem)
        return judgement

    def frame_of(self, event: FrameCaptured) -> Frame | None:
        """Return the slot, (H, W, C) uint8, read only; None if the frame was given up and the slot may hold another."""
        return self._ring.slot(event.slot) if self._ring.generation(event.slot) == event.generation else None

    def _decide(self, event: FrameCaptured, judgement: Judgement) -> None:
        live, stage_ns = self.live, judgement.stage_ns
        with _timed(stage_ns, "check"):
            frame = self._ring.slot(event.slot)
            self._check_whole(event)
            self._check_new(frame)
            check_frame(frame, live.thresholds.calibration.frame_limits)
        with _timed(stage_ns, "infer"):
            judgement.maps = maps = live.runtime.infer(event.slot)
        with _timed(stage_ns, "decide"):
            self._check_whole(event)
            judgement.decision = decide(maps, live.thresholds, roi_size_wh=live.recipe.roi_size_wh)

    def _check_new(self, frame: Frame) -> None:
        if not self.refuses_repeats:
            return
        checksum = zlib.crc32(np.ascontiguousarray(frame[::_ROW_STEP]).data)
        before, self._last_checksum = self._last_checksum, checksum
        if checksum == before:
            raise FrameError(
                "the frame is equal to the one before it.",
                reason="frozen_frame",
                fix="Check the camera: it delivers, but takes no new pictures. Restarting it helps most often.",
            )

    def _check_whole(self, event: FrameCaptured) -> None:
        generation = self._ring.generation(event.slot)
        if generation != event.generation or generation % 2:
            raise FrameError(
                f"slot {event.slot} has generation {generation} but the frame was announced with {event.generation}.",
                reason="torn_frame",
                fix="Report this with the log: only the camera process may write, and only when asked.",
            )


@contextmanager
def _timed(stage_ns: dict[str, int], stage: str) -> Iterator[None]:
    began = time.monotonic_ns()
    try:
        yield
    finally:
        stage_ns[stage] = time.monotonic_ns() - began
