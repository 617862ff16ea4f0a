"""Frames that stand out among good ones: perhaps a defective part, perhaps dirt, perhaps only a rare good one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# In standard deviations of the logarithm of a score. Scores of good parts have a long tail; their logarithms hardly.
STANDS_OUT = 3.0
# Fewer scores do not say what is usual.
FEWEST_SCORES = 10
_SMALLEST_SCORE = 1e-3
# So many good scores stand out although nothing is unusual: their logarithms have a longer tail than normal values.
_OF_GOOD_ONES = 0.005
# The median absolute deviation of normal values, times this, is their standard deviation.
_MAD_TO_DEVIATION = 1.4826


def stand_out(scores: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Say which scores lie far above the others, by median and median absolute deviation of their logarithms.

    Both hardly change when a few of the frames are defective (Huber, Robust Statistics, 1981).

    Args:
        scores: Of n good frames; with fewer than 10, none stands out.

    Returns:
        (n,) bool, newly allocated.
    """
    logs = np.log(np.maximum(np.asarray(scores, np.float64), _SMALLEST_SCORE))
    if len(logs) < FEWEST_SCORES:
        return np.zeros(len(logs), bool)
    middle = np.median(logs)
    deviation = _MAD_TO_DEVIATION * np.median(np.abs(logs - middle))
    return np.asarray(logs > middle + STANDS_OUT * deviation) if deviation > 0 else np.zeros(len(logs), bool)


def are_strays(count: int, of: int, *, share: float) -> bool:
    """Tell whether so few stand out that they may be left out; one always may.

    More than may be rejected are a kind of good part, such as a second print: left out of what is usual, each of them
    would score so high that the factor, which must let most of them pass, lets defects pass, too.

    Args:
        count: Frames that stand out.
        of: All frames.
        share: Share of good parts that may be rejected.
    """
    return count <= max(1.0, (share + _OF_GOOD_ONES) * of)
