"""What must hold of every lane, to the bit: the GPU sees what the other process wrote last, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from gpu_kernel import BoxMean, Means
from gpu_lanes import Lane
from gpu_ring import Writer, frame_of

from edge_agent.ring import FrameRing

Row = dict[str, Any]
GENERATIONS = 5
# Of the frame that one byte of is inverted; not among the generations' seeds.
_FLIP_SEED = 1_000_003


def check_lane(lane: Lane, ring: FrameRing, writer: Writer, work: BoxMean) -> Row:
    """Make all checks of a lane.

    Returns:
        Its name, how many frames were compared, and a line for everything that did not hold.
    """
    failures: list[str] = []
    for turn in range(GENERATIONS):
        failures += check_generation(lane, ring, writer, work, seed=lane.slot * GENERATIONS + turn)
    failures += check_poison(lane)
    failures += check_byte(lane, writer, work)
    named = {"binding": lane.binding, "way": lane.way, "launch": lane.launch}
    return {**named, "frames": GENERATIONS, "failures": failures}


def check_generation(lane: Lane, ring: FrameRing, writer: Writer, work: BoxMean, *, seed: int) -> list[str]:
    """The other process writes a frame after the registration, and the GPU computes the means of that very frame."""
    before = ring.generation(lane.slot)
    announced = writer.draw(lane.slot, seed)
    means = run_poisoned(lane)
    faults = [f"generation {before} became {announced}"] if announced != before + 2 else []
    if ring.generation(lane.slot) != announced:
        faults.append(f"generation {announced} did not stay")
    return faults + differences(means, work.of(frame_of(seed, work.frame_shape)), f"frame {seed}")


def check_poison(lane: Lane) -> list[str]:
    """Without a launch the NaN stay; with one, none is left."""
    lane.means.fill(np.nan)
    lane.wait()
    faults = [] if np.isnan(lane.means).all() else ["something wrote the means without a launch"]
    lane.run()
    return faults + (["a launch left NaN"] if np.isnan(lane.means).any() else [])


def check_byte(lane: Lane, writer: Writer, work: BoxMean) -> list[str]:
    """The other process inverts one byte: the mean of its box changes to what NumPy says, and no other does."""
    frame = frame_of(_FLIP_SEED, work.frame_shape)
    writer.draw(lane.slot, _FLIP_SEED)
    before = run_poisoned(lane)
    # Not at an edge, where a mistaken stride might be right by chance.
    byte = int(np.ravel_multi_index([side * 2 // 3 for side in work.frame_shape], work.frame_shape))
    writer.flip(lane.slot, byte)
    after = run_poisoned(lane)
    changed = int((before != after).sum())
    frame.reshape(-1)[byte] ^= 0xFF
    faults = [] if changed == 1 else [f"one byte changed {changed} means"]
    return faults + differences(after, work.of(frame), "the frame with one changed byte")


def run_poisoned(lane: Lane) -> Means:
    """Return a copy of what a launch writes over NaN."""
    lane.means.fill(np.nan)
    lane.run()
    return lane.means.copy()


def differences(means: Means, expected: Means, what: str) -> list[str]:
    """Say how many values differ; NaN differs from everything."""
    count = int((means != expected).sum())
    return [f"{what}: {count} of {expected.size} means differ from NumPy's"] if count else []
