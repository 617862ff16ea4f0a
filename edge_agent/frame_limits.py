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
_FEWEST_WITH_STRAYS = 10
_AT_START = 0.01


def brightness_and_contrast(frame: Frame) -> tuple[float, float]:
    """Return the mean and the standard deviation of every fourth row, 0 to 255, averaged over the channels.

    Args:
        frame: (H, W, C) uint8, C-contiguous; read only.
    """
    mean, deviation = cv2.meanStdDev(frame[::_ROW_STEP])
    return float(np.mean(mean)), float(np.mean(deviation))


def fit_frame_limits(measured: Sequence[tuple[float, float]], *, share: float) -> FrameLimits:
    """Derive limits from good frames: a quarter of the way from "no picture" to the nearest good frame.

    One frame without a picture among them would let every such frame be judged. So those have no say that the limits of
    the others refuse, while they are no more than may be rejected, or than a camera delivers at its start: 1 %.

    Args:
        measured: `brightness_and_contrast` of at least one good frame.
        share: Share of good parts that may be rejected; one frame always may be left out, but of very few.
    """
    count = len(measured)
    strays = max(1, min(int(max(share, _AT_START) * count), count // 4)) if count >= _FEWEST_WITH_STRAYS else 0
    means, contrasts = sorted(mean for mean, _ in measured), sorted(contrast for _, contrast in measured)
    inner = _limits(means[strays], means[-1 - strays], contrasts[strays])
    kept = [one for one in measured if is_within(one, inner)]
    return _limits(min(kept)[0], max(kept)[0], min(contrast for _, contrast in kept))


def _limits(darkest: float, brightest: float, flattest: float) -> FrameLimits:
    return FrameLimits(
        mean_low=_SHARE * darkest,
        mean_high=_WHITE - _SHARE * (_WHITE - brightest),
        contrast_low=_SHARE * flattest,
    )


def is_within(measured: tuple[float, float], limits: FrameLimits) -> bool:
    """Tell whether a frame of such `brightness_and_contrast` would be judged."""
    mean, contrast = measured
    return limits.mean_low <= mean <= limits.mean_high and contrast >= limits.contrast_low


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
