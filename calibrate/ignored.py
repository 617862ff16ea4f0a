"""What of the part is never inspected: a label, a clamp, a shadow that moves."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge_agent.inspection import Mask
from engines.errors import DatasetError, FrameError
from engines.images import read_image
from engines.recipe import Recipe

_HALF = 127


def read_ignored(picture: Path | None, recipe: Recipe, *, min_area: int) -> Mask:
    """Return which map pixels are never inspected, (h, w) bool: those that lie in white by half or more.

    Args:
        picture: As large as a camera frame, black where the part is inspected; None ignores nothing. A fourth channel
            has no say.
        recipe: Says where the inspected region lies.
        min_area: Smallest defect, in map pixels.

    Raises:
        DatasetError: It cannot be read, has another size, has no white, or leaves nothing to inspect.
    """
    _, height, width = recipe.maps_shape
    if picture is None:
        return np.zeros((height, width), bool)
    try:
        pixels = read_image(picture)[:, :, :3]
    except FrameError as problem:
        raise DatasetError(problem.problem, fix=problem.fix) from problem
    if pixels.shape[:2] != recipe.frame_shape[:2]:
        raise DatasetError(
            f"--ignore: {picture} is {pixels.shape[1]} x {pixels.shape[0]}, but frames of {recipe.name} are "
            f"{recipe.frame_shape[1]} x {recipe.frame_shape[0]}.",
            fix="Paint it over a frame of this camera, and save it in the same size.",
        )
    if pixels.max() <= _HALF:
        raise DatasetError(
            f"--ignore: {picture} has no white, its largest value is {pixels.max()}: nothing would be ignored.",
            fix="Save what is to be ignored as white, 255, or leave out --ignore.",
        )
    x, y, roi_width, roi_height = recipe.roi_xywh_px
    white = (pixels[y : y + roi_height, x : x + roi_width].max(axis=2) > _HALF).astype(np.float32)
    ignored = cv2.resize(white, (width, height), interpolation=cv2.INTER_AREA) >= 0.5
    if _largest_region(~ignored) < min_area:
        raise DatasetError(
            f"--ignore: {picture} ignores the whole inspected region, or all but spots that are smaller than the "
            "smallest defect: every part would pass.",
            fix="White is ignored and black is inspected; swap them if it is the other way round.",
        )
    return np.asarray(ignored)


def _largest_region(inspected: Mask) -> int:
    """Return the size of the largest 8-connected region, in map pixels."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(inspected.astype(np.uint8), connectivity=8)
    return int(stats[1:, cv2.CC_STAT_AREA].max(initial=0))
