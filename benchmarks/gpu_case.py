"""One kind of frame: every lane over one ring, checked one by one, then timed in turn beside bare copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from gpu_checks import check_lane, differences
from gpu_kernel import BoxMean
from gpu_lanes import LAUNCHES, Device, Lane, open_lanes
from gpu_ring import Writer, frame_of
from gpu_timing import Figures, Run, time_in_turn

from edge_agent.ring import FrameRing
from engines.command_line import track

Row = dict[str, Any]
COPY = "bare copy"
_TIMED_SEED = 7


@dataclass(frozen=True)
class Timing:
    """How often each lane is timed, and the most seconds that may take."""

    rounds: int
    budget_s: float


def run_case(name: str, work: BoxMean, devices: list[Device], timing: Timing) -> Row:
    """Check and time all lanes over one ring."""
    slots = sum(len(device.ways) for device in devices) * len(LAUNCHES) + len(devices)
    with (
        closing(FrameRing.create(work.frame_shape, slots)) as ring,
        closing(Writer(ring)) as writer,
        open_lanes(devices, ring, work) as lanes,
    ):
        checks = [check_lane(lane, ring, writer, work) for lane in track(lanes, label=f"checking {name}")]
        with copy_runs(devices, ring, len(lanes)) as copies:
            figures = time_lanes(name, lanes, copies, ring, timing)
        expected = work.of(frame_of(_TIMED_SEED, work.frame_shape))
        for lane, check in zip(lanes, checks, strict=True):
            check["failures"] += differences(lane.means, expected, "the last timed frame")
    return {"case": name, "box": work.box, "bytes": int(np.prod(work.frame_shape)), "checks": checks, "ms": figures}


def time_lanes(name: str, lanes: list[Lane], copies: dict[str, Run], ring: FrameRing, timing: Timing) -> Figures:
    """Time the lanes and the bare copies in turn, each on a slot that this process has just written."""
    frame = frame_of(_TIMED_SEED, ring.frame_shape)

    def prepared(slot: int) -> Callable[[], None]:
        # As the camera leaves it: in the processor's cache.
        return lambda: np.copyto(ring.slot(slot), frame)

    runs: dict[str, Run] = {lane.name: (prepared(lane.slot), lane.run) for lane in lanes}
    label = f"timing {name}"
    return time_in_turn({**runs, **copies}, rounds=timing.rounds, budget_s=timing.budget_s, label=label)


@contextmanager
def copy_runs(devices: list[Device], ring: FrameRing, first_slot: int) -> Iterator[dict[str, Run]]:
    """What each lane is compared with: the copy of a frame from a slot that is not registered, and nothing else."""
    runs: dict[str, Run] = {}
    marks = [device.memory.mark() for device in devices]
    frame = frame_of(_TIMED_SEED, ring.frame_shape)
    for index, device in enumerate(devices):
        with device.memory.current():
            address = device.memory.device(frame.nbytes)
        slot = ring.slot(first_slot + index)

        def copy(device: Device = device, address: int = address, slot: Any = slot) -> None:
            with device.memory.current():
                device.launcher.copy(address, slot.reshape(-1))

        runs[f"{device.memory.binding}, {COPY}"] = (lambda slot=slot: np.copyto(slot, frame)), copy  # type: ignore[misc]
    try:
        yield runs
    finally:
        for device, mark in zip(devices, marks, strict=True):
            with device.memory.current():
                device.memory.release(mark)
