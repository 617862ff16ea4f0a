"""From maps back to the pixels of the image file, where the truth was drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.decision import NOT_INSPECTED, ZMap
from edge_agent.inspection import Mask
from engines.images import Frame
from engines.recipe import Recipe

Shape = tuple[int, int]
Rectangle = tuple[int, int, int, int]
Picture = npt.NDArray[Any]


@dataclass(frozen=True)
class Placement:
    """Where an image file's pixels are in the recipe's frame: what is no padding, and the file's (height, width)."""

    valid_xywh_px: Rectangle
    original_shape: Shape


def z_at_original(z: ZMap, recipe: Recipe, placement: Placement) -> ZMap:
    """Return z at the resolution of an image file, newly allocated.

    Args:
        z: (h, w) float32; read only.
        recipe: Where the maps lie in the frame.
        placement: Where the image file, of (H, W), lies in it.

    Returns:
        (H, W) float32, linear in between; what is never inspected has one value below all others: a defect there
        is found last.
    """
    inspected = z > NOT_INSPECTED
    lowest = float(z[inspected].min(initial=np.inf)) if inspected.any() else 0.0
    shown = _place(np.maximum(z, np.float32(lowest)), recipe, placement, lowest, _linear)
    seen = mask_at_original(inspected, recipe, placement)
    shown[~seen] = NOT_INSPECTED
    return shown


def mask_at_original(mask: Mask, recipe: Recipe, placement: Placement) -> Mask:
    """Return a mask of the maps, (h, w) bool, at the resolution of an image file, (H, W) bool, as the PLC gets it."""
    return _place(mask, recipe, placement, 0, _nearest)


def picture_at_original(picture: Frame, recipe: Recipe, placement: Placement, around: int) -> Frame:
    """Return a picture of the inspected region, (h, w, 3) uint8, at the resolution of an image file, (H, W, 3)."""
    return _place(picture, recipe, placement, around, _linear)


def _place(
    picture: Picture,
    recipe: Recipe,
    placement: Placement,
    around: float,
    scale: Callable[[Picture, Shape], Picture],
) -> Picture:
    left, top, width, height = recipe.roi_xywh_px
    frame = np.full((*recipe.frame_shape[:2], *picture.shape[2:]), around, picture.dtype)
    frame[top : top + height, left : left + width] = scale(picture, (height, width))
    left, top, width, height = placement.valid_xywh_px
    shown = frame[top : top + height, left : left + width]
    same = shown.shape[:2] == placement.original_shape
    return np.ascontiguousarray(shown if same else scale(shown, placement.original_shape))


def _linear(picture: Picture, shape: Shape) -> Picture:
    return np.asarray(cv2.resize(picture, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))


def _nearest(picture: Picture, shape: Shape) -> Picture:
    # OpenCV's nearest pixel is not the one whose cell holds the centre, which the mask of a verdict shows.
    rows, columns = (
        (2 * np.arange(out) + 1) * size // (2 * out) for size, out in zip(picture.shape, shape, strict=True)
    )
    return np.asarray(picture[rows[:, np.newaxis], columns])
