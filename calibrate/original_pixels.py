"""From maps back to the pixels of the image file, where the truth was drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.decision import NOT_INSPECTED, ZMap
from edge_agent.inspection import Mask
from engines.recipe import Recipe

Shape = tuple[int, int]
Rectangle = tuple[int, int, int, int]
Picture = npt.NDArray[Any]


def z_at_original(z: ZMap, recipe: Recipe, *, valid_xywh_px: Rectangle, original_shape: Shape) -> ZMap:
    """Return z at the resolution of an image file, newly allocated.

    Args:
        z: (h, w) float32; read only.
        recipe: Where the maps lie in the frame.
        valid_xywh_px: What of the frame is no padding.
        original_shape: (H, W) of the image file.

    Returns:
        (H, W) float32, linear in between; what is never inspected has one value below all others: a defect there
        is found last.
    """
    inspected = z > NOT_INSPECTED
    lowest = float(z[inspected].min(initial=np.inf)) if inspected.any() else 0.0
    shown = _place(np.maximum(z, np.float32(lowest)), recipe, valid_xywh_px, original_shape, lowest, _linear)
    seen = mask_at_original(inspected, recipe, valid_xywh_px=valid_xywh_px, original_shape=original_shape)
    shown[~seen] = NOT_INSPECTED
    return shown


def mask_at_original(mask: Mask, recipe: Recipe, *, valid_xywh_px: Rectangle, original_shape: Shape) -> Mask:
    """Return a mask of the maps, (h, w) bool, at the resolution of an image file, (H, W) bool, as the PLC gets it."""
    return _place(mask, recipe, valid_xywh_px, original_shape, 0, _nearest)


def _place(
    picture: Picture,
    recipe: Recipe,
    valid_xywh_px: Rectangle,
    original_shape: Shape,
    around: float,
    scale: Callable[[Picture, Shape], Picture],
) -> Picture:
    left, top, width, height = recipe.roi_xywh_px
    frame = np.full(recipe.frame_shape[:2], around, picture.dtype)
    frame[top : top + height, left : left + width] = scale(picture, (height, width))
    left, top, width, height = valid_xywh_px
    shown = frame[top : top + height, left : left + width]
    return np.ascontiguousarray(shown if shown.shape == original_shape else scale(shown, original_shape))


def _linear(picture: Picture, shape: Shape) -> Picture:
    return np.asarray(cv2.resize(picture, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))


def _nearest(picture: Picture, shape: Shape) -> Picture:
    # OpenCV's nearest pixel is not the one whose cell holds the centre, which the mask of a verdict shows.
    rows, columns = (
        (2 * np.arange(out) + 1) * size // (2 * out) for size, out in zip(picture.shape, shape, strict=True)
    )
    return np.asarray(picture[rows[:, np.newaxis], columns])
