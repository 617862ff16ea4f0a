"""Where on the maps a frame that was brought to the recipe's size shows padding, which is never inspected."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engines.dataset import Rectangle
from engines.recipe import Recipe


def padding_on_maps(valid_xywh_px: Rectangle, recipe: Recipe) -> npt.NDArray[np.bool_] | None:
    """Return which map pixels show padding, (h, w) bool; None if none does.

    Args:
        valid_xywh_px: What of the frame shows the part; see `engines.dataset.fit_frame`.
        recipe: Where the maps lie in the frame.
    """
    left, top, width, height = valid_xywh_px
    if (height, width) == recipe.frame_shape[:2]:
        return None
    padding = np.ones(recipe.frame_shape[:2], np.uint8)
    padding[top : top + height, left : left + width] = 0
    x, y, roi_width, roi_height = recipe.roi_xywh_px
    _, map_height, map_width = recipe.maps_shape
    inside = padding[y : y + roi_height, x : x + roi_width]
    return cv2.resize(inside, (map_width, map_height), interpolation=cv2.INTER_AREA).astype(bool)
