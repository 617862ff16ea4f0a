"""The record of one part: what was asked, what was seen, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Verdict = Literal["PASS", "FAIL", "INVALID"]
Mask = npt.NDArray[np.bool_]

# Every reason that an INVALID verdict can give, and what it means to a person.
REASONS = {
    "no_frame": "the camera delivered no frame in time",
    "unreadable_frame": "the frame could not be decoded",
    "frame_size": "the frame has another size or other channels than the recipe's",
    "torn_frame": "the frame changed while it was inspected",
    "stale_frame": "the frame is older than its trigger",
    "late_frame": "the frame was taken too long after its trigger",
    "ambiguous_pairing": "two frames or two triggers came together; which belong to each other is not known",
    "frame_gap": "frames were lost, and no frame has come alone with its trigger since",
    "frozen_frame": "the camera repeats the same frame",
    "black_frame": "the frame is darker than any good one",
    "blown_out_frame": "the frame is brighter or flatter than any good one",
    "non_finite": "the engine's output is not finite",
    "engine_error": "the engine failed",
    "internal_error": "the program failed; the log has the traceback",
    "deadline": "the verdict came later than the part can wait",
    "expired": "the trigger was already too old",
    "bad_trigger": "the trigger cannot be understood; only its meas_id could be read",
    "id_conflict": "the measurement id was used for another part",
    "not_ready": "the station is not ready",
    "wrong_recipe": "the trigger asks for another recipe",
    "restart": "the agent restarted while the part was open",
    "outbox": "the outbox cannot be written",
    "overload": "more parts wait than can be inspected in time",
}


@dataclass(frozen=True)
class Trigger:
    """The PLC's request for one verdict; `received_ns` is CLOCK_MONOTONIC at receipt.

    A frame must be newer than the receipt. What a part can wait counts from `waited_ns` earlier, when it came at the
    earliest: a sync of the disk can hold up the thread that reads triggers.
    The ids keep the JSON type that was received: 41 and "41" are different ids.
    """

    meas_id: str | int
    part_id: str | int | None
    job_id: str | int | None
    recipe: str | None
    expires_ms: int | None
    received_ns: int
    waited_ns: int = 0

    @property
    def came_ns(self) -> int:
        """When it came at the earliest, CLOCK_MONOTONIC."""
        return self.received_ns - self.waited_ns


@dataclass(frozen=True)
class Defect:
    """One connected region: box in camera pixels from the ROI's corner, area in camera pixels, largest z."""

    bbox_xywh_px: tuple[int, int, int, int]
    area_px: int
    peak: float


@dataclass(frozen=True)
class Inspection:
    """One part's result. `defect_mask` is (h, w) bool at map resolution, None where there is none."""

    result_id: str
    seq: int
    boot_id: str
    station: str
    recipe: str
    model_sha256: str
    threshold_rev: str
    verdict: Verdict
    reasons: tuple[str, ...]
    captured_at: str | None
    decided_at: str
    latency_ms: float
    trigger: Trigger | None = None
    deadline_ms: int | None = None
    score: float | None = None
    limit: float | None = None
    defects: tuple[Defect, ...] = ()
    defect_mask: Mask | None = field(default=None, repr=False, compare=False)
    frame_seq: int | None = None
    clock_synced: bool = False
    is_simulated: bool = False
