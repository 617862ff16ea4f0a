"""Is there a picture at all? Black, blown-out and flat frames, by limits fitted on good ones."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_agent.thresholds import FrameLimits
from engines.errors import FrameError
from engines.images import Frame

_WHITE = 255.0
_SHARE = 0.25
_ROW_STEP = 4


def brightness_and_contrast(frame: Frame) -> tuple[float, float]:
    """Return the mean and the standard deviation of every fourth row, 0 to 255, averaged over the channels.

    Args:
        frame: (H, W, C) uint8, C-contiguous; read only.
    """
    mean, deviation = cv2.meanStdDev(frame[::_ROW_STEP])
    return float(np.mean(mean)), float(np.mean(deviation))


def fit_frame_limits(measured: Sequence[tuple[float, float]]) -> FrameLimits:
    """Derive limits from good frames: a quarter of the way from "no picture" to the nearest good frame.

    Args:
        measured: `brightness_and_contrast` of at least one good frame.
    """
    means, contrasts = zip(*measured, strict=True)
    return FrameLimits(
        mean_low=_SHARE * min(means),
        mean_high=_WHITE - _SHARE * (_WHITE - max(means)),
        contrast_low=_SHARE * min(contrasts),
    )


def check_frame(frame: Frame, limits: FrameLimits) -> None:
    """Refuse a frame that shows nothing.

    Raises:
        FrameError: The frame is darker, brighter or flatter than the limits allow.
    """
    mean, contrast = brightness_and_contrast(frame)
    if mean < limits.mean_low:
        reason, what, limit = "black_frame", f"brightness is {mean:.1f}", f"at least {limits.mean_low:.1f}"
    elif mean > limits.mean_high:
        reason, what, limit = "blown_out_frame", f"brightness is {mean:.1f}", f"at most {limits.mean_high:.1f}"
    elif contrast < limits.contrast_low:
        reason, what, limit = "blown_out_frame", f"contrast is {contrast:.2f}", f"at least {limits.contrast_low:.2f}"
    else:
        return
    raise FrameError(
        f"the frame's {what}, but good frames have {limit}.",
        reason=reason,
        fix="Check the light, the lens and exposure.",
    )
