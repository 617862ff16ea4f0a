"""Do frames still look like those of the calibration? It says so when they do not, and never moves a threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import get_args

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.frame_limits import brightness_and_contrast
from edge_agent.thresholds import Figure, Usual
from engines.images import Frame

# In standard deviations of good parts. With 1 and 25, a shift by 2.5 takes 17 parts to be seen.
ALLOWANCE, LIMIT = 1.0, 25.0
# One part cannot say more than this: not every defect is a drift.
MOST_OF_ONE_PART = 3.5
_ROW_STEP = 4
_SMALLEST = 1e-3
# The median absolute deviation of normal values, times this, is their standard deviation.
_MAD_TO_DEVIATION = 1.4826
FIGURES: tuple[Figure, ...] = get_args(Figure)
# With fewer, what is usual is known too badly: with 10, every fifth station would give a false alarm.
FEWEST_FRAMES = 30
# Of the middle; of the score by its logarithm. An LED gives 0.3 % less light a kelvin warmer, brightness, contrast and
# sharpness follow it, and a short calibration of parts that look alike does not show that.
_LEAST_SPREAD = 0.01
# Parts between two alarms while nothing drifts, of all figures together: what docs/results/drift.md asks for.
_LEAST_INTERVAL = 100_000
_BOUND_95 = 1.64
_WIDER = 1.1


def figures_of(frame: Frame, score: float) -> dict[Figure, float]:
    """Return what of a frame is watched.

    Args:
        frame: (H, W, C) uint8, C-contiguous; read only.
        score: Of its decision. Its logarithm is watched: scores of good parts have a long tail.
    """
    brightness, contrast = brightness_and_contrast(frame)
    return {
        "score": math.log(max(score, _SMALLEST)),
        "brightness": brightness,
        "contrast": contrast,
        "sharpness": sharpness(frame),
    }


def sharpness(frame: Frame) -> float:
    """Return the mean difference of neighbours in every fourth row, 0 to 255."""
    rows = frame[::_ROW_STEP]
    return float(np.mean(cv2.mean(cv2.absdiff(rows[:, 1:], rows[:, :-1]))[: frame.shape[2]]))


def usual_of(measured: Mapping[Figure, list[float]]) -> dict[Figure, Usual]:
    """Return middle and spread of each figure of good frames; what never varies, or has few frames, is not watched.

    The middle is the median. The spread is the median absolute deviation, but at least 1 % of the middle, and wide
    enough that such frames in random order give no alarm: parts of two kinds are no drift.
    """
    found = {}
    for name, values in measured.items():
        if len(values) < FEWEST_FRAMES:
            continue
        middle = float(np.median(values))
        distances = np.asarray(values) - middle
        spread = _MAD_TO_DEVIATION * float(np.median(np.abs(distances)))
        if spread > 0:
            spread = max(spread, _LEAST_SPREAD * (1.0 if name == "score" else middle))
            while not (_is_quiet(distances / spread) and _is_quiet(-distances / spread)):
                spread *= _WIDER
            found[name] = Usual(middle=middle, spread=spread)
    return found


def _is_quiet(distances: npt.NDArray[np.float64]) -> bool:
    """Return whether a sum of such distances, in random order, reaches the limit too seldom to be an alarm.

    A sum whose steps x have a mean of exp(r x) of at most 1 takes at least exp(r limit) steps to its limit (Lorden,
    Annals of Mathematical Statistics 42, 1971). That mean is known from few frames, so its 95 % bound counts.
    """
    rate = math.log(2 * len(FIGURES) * _LEAST_INTERVAL) / LIMIT
    steps = np.minimum(distances, MOST_OF_ONE_PART) - ALLOWANCE
    growth = np.exp(rate * steps)
    return bool(growth.mean() + _BOUND_95 * growth.std() / math.sqrt(len(growth)) <= 1)


class DriftWatch:
    """A two-sided cumulative sum for each figure (Page, Biometrika 41, 1954), fed by every valid frame, rejected or not.

    Args:
        usual: Middle and spread of each figure of good frames; figures that are not named are not watched.
    """

    def __init__(self, usual: Mapping[Figure, Usual]) -> None:
        self._usual = usual
        self._sums = {name: [0.0, 0.0] for name in usual}
        self._drifting: set[Figure] = set()

    @property
    def watches(self) -> bool:
        """Whether there is anything to compare with."""
        return bool(self._usual)

    def add(self, figures: Mapping[Figure, float]) -> None:
        """Take one frame into account."""
        for name, usual in self._usual.items():
            distance = (figures[name] - usual.middle) / usual.spread
            distance = min(max(distance, -MOST_OF_ONE_PART), MOST_OF_ONE_PART)
            sums = self._sums[name]
            for side, sign in enumerate((1.0, -1.0)):
                # Bounded, so that it falls as fast as it rose once frames are as usual again.
                sums[side] = min(max(0.0, sums[side] + sign * distance - ALLOWANCE), 2 * LIMIT)
            if max(sums) > LIMIT:
                self._drifting.add(name)
            elif max(sums) == 0.0:
                self._drifting.discard(name)

    def nearness(self) -> dict[Figure, float]:
        """Return how near each figure is to being called drifting: 0 is as usual, above 1 it is. For any thread."""
        return {name: max(sums) / LIMIT for name, sums in self._sums.items()}

    def drifting(self) -> Iterator[Figure]:
        """Yield the figures that have left what is usual and have not come back."""
        yield from (name for name in FIGURES if name in self._drifting)
