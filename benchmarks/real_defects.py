"""The real defects of a data set, measured as the sensitivity card measures its drawn ones: size, contrast, caught."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.dataset import LabelledFrame, load_mask
from calibrate.recipe_engine import LoadedFrame, RecipeEngine
from calibrate.sensitivity import near
from edge_agent.decision import NOT_INSPECTED, score, z_map
from edge_agent.inspection import Mask
from edge_agent.thresholds import ThresholdRevision
from engines.command_line import track
from engines.dataset import fit_frame
from engines.images import Frame

_SAMPLE_PX = 4
# How far a defect may reach beyond its mask when frames are compared without it.
_MARGIN_PX = 4
_HALF = 127
# Midway, by ratio, between a disc and a scratch a tenth as wide as long, which fills 0.13 of its circle.
_LONG_SHARE = 0.36


@dataclass(frozen=True)
class RealDefect:
    """One connected region of a true mask.

    Attributes:
        label: Its type, as the data set says.
        size_px: Its length: the diameter of the smallest circle around it, in pixels of the recipe's frame.
        is_long: Whether it is more like a drawn scratch than like a disc, by the share of that circle that it fills.
        contrast: See `GoodFrames.contrast`.
        caught: Whether the thresholds mark something at or around it, as the card counts.
        rejected: Whether its frame fails, wherever.
    """

    label: str
    size_px: float
    is_long: bool
    contrast: float
    caught: bool
    rejected: bool


class GoodFrames:
    """Good frames that say what a defective frame would show without its defect."""

    def __init__(self, engine: RecipeEngine, paths: Sequence[Path]) -> None:
        self._engine = engine
        self._paths = paths
        every = track(paths, label="good frames")
        self._samples = np.stack([_sample(engine.load(path).pixels) for path in every]).astype(np.int16)

    def contrast(self, frame: Frame, defects: Mask, covered: Mask) -> float:
        """Return by how many of the 255 codes a defect differs from the most similar good frame: mean absolute difference.

        Args:
            frame: (H, W, C) uint8.
            defects: Every defect of the frame, (H, W) bool: frames are compared outside.
            covered: The one to measure, (H, W) bool.
        """
        good = self._most_similar(frame, defects)[covered].astype(np.float32)
        return float(np.abs(frame[covered].astype(np.float32) - good).mean())

    def _most_similar(self, frame: Frame, defects: Mask) -> Frame:
        grown = cv2.dilate(defects.astype(np.uint8), np.ones((2 * _MARGIN_PX + 1,) * 2, np.uint8)).astype(bool)
        outside = ~_sample(grown)
        if not outside.any():
            outside[:] = True
        sample = _sample(frame).astype(np.int16)
        apart = [np.abs(good - sample)[outside].mean() for good in self._samples]
        return self._engine.load(self._paths[int(np.argmin(apart))]).pixels


def measure_defects(
    engine: RecipeEngine, thresholds: ThresholdRevision, frames: Sequence[LabelledFrame], good: GoodFrames
) -> list[RealDefect]:
    """Measure every defect of the frames.

    Raises:
        DatasetError: A frame or mask cannot be used.
    """
    return [
        defect
        for frame in track(frames, label="real defects")
        for defect in _defects_of(engine, thresholds, frame, good)
    ]


def _defects_of(
    engine: RecipeEngine, thresholds: ThresholdRevision, frame: LabelledFrame, good: GoodFrames
) -> Iterator[RealDefect]:
    loaded = engine.load(frame.path)
    mask = _mask_in_frame(engine, frame, loaded)
    z = z_map(engine.maps(loaded.pixels), engine.thresholds_for(loaded, thresholds))
    rejected = score(z, thresholds.min_area_map_px) > thresholds.factor
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    for number in range(1, count):
        covered = labels == number
        size_px, is_long = shape_of(covered)
        there = np.where(near(engine, covered), z, NOT_INSPECTED)
        yield RealDefect(
            label=frame.label,
            size_px=size_px,
            is_long=is_long,
            contrast=good.contrast(loaded.pixels, mask, covered),
            caught=score(there, thresholds.min_area_map_px) > thresholds.factor,
            rejected=rejected,
        )


def shape_of(covered: Mask) -> tuple[float, bool]:
    """Return the length of a region, (H, W) bool, in pixels, and whether it is long; see `RealDefect`."""
    _, radius = cv2.minEnclosingCircle(np.argwhere(covered).astype(np.float32))
    # From the middles of the pixels to their outsides.
    length = 2 * radius + 1
    return length, bool(covered.sum() < _LONG_SHARE * np.pi / 4 * length**2)


def _mask_in_frame(engine: RecipeEngine, frame: LabelledFrame, loaded: LoadedFrame) -> Mask:
    """Return the true mask in the recipe's frame size, (H, W) bool."""
    mask = load_mask(frame, loaded.original_shape).astype(np.uint8)[:, :, np.newaxis] * 255
    placed, _ = fit_frame(mask, (*engine.recipe.frame_shape[:2], 1), engine.recipe.resize)
    return np.asarray(placed[:, :, 0] > _HALF)


def _sample(picture: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return picture[::_SAMPLE_PX, ::_SAMPLE_PX]
