"""Where the defective pixels stand among the good ones: what pixel AUROC and AUPRO are computed from.

Both need to know of every defective pixel only how many good pixels lie above it, and how many have the same z. So
the defective pixels are kept, sorted, and the good ones pass by, frame after frame, and are counted between them. No
threshold is left out, so both figures are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.inspection import Mask

Values = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_SIXTEEN_BITS = np.uint32(0xFFFFFF00)


@dataclass(frozen=True)
class DefectPixels:
    """Defective pixels by z.

    Attributes:
        values: The different z, ascending, (n,) float32.
        pixels: How many pixels have each of them.
        weights: The sum of 1 / (size of its region) over these pixels: a whole region weighs 1.
        regions: How many regions there are.
    """

    values: Values
    pixels: Counts
    weights: Numbers
    regions: int


def defect_pixels(z: Values, truth: Mask) -> DefectPixels:
    """Return the defective pixels of one frame; regions are 8-connected.

    Args:
        z: (H, W) float32; not kept.
        truth: (H, W) bool, C-contiguous.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(truth.view(np.uint8), connectivity=8)
    weights = 1 / np.asarray(stats[labels[truth], cv2.CC_STAT_AREA], np.float64)
    return merge([DefectPixels(z[truth], np.ones(len(weights), np.int64), weights, count - 1)])


def merge(parts: Sequence[DefectPixels]) -> DefectPixels:
    """Return all of them as one; parts may hold a value twice and in any order."""
    values, places = np.unique(np.concatenate([part.values for part in parts]), return_inverse=True)
    # Counts are exact in float64 up to 2^53.
    pixels, weights = (
        np.asarray(np.bincount(places, np.concatenate(amounts), minlength=len(values)), np.float64)
        for amounts in ([part.pixels for part in parts], [part.weights for part in parts])
    )
    return DefectPixels(values, pixels.astype(np.int64), weights, sum(part.regions for part in parts))


def rounded(values: Values) -> Values:
    """Cut float32 to 16 significant bits, towards 0: what was in order stays in order, and near values become one."""
    return (values.view(np.uint32) & _SIXTEEN_BITS).view(np.float32)


class GoodCounts:
    """How many good pixels lie below, between, and on the given values.

    `counts` is (2 n + 1,) int64: an odd place 2 i + 1 is the i-th value itself, an even one what lies before it.
    """

    def __init__(self, values: Values) -> None:
        self.counts = np.zeros(2 * len(values) + 1, np.int64)
        self._values = values

    def add(self, good: Values) -> None:
        """Count pixels, (m,) float32; not kept."""
        ordered = np.sort(good)
        places = np.searchsorted(self._values, ordered)
        is_on_value = self._values[np.minimum(places, len(self._values) - 1)] == ordered
        places = 2 * places + is_on_value
        starts = np.flatnonzero(np.diff(places, prepend=-1))
        self.counts[places[starts]] += np.diff(starts, append=len(places))


class Ranks:
    """The shares of good pixels above and on each of a set's defective values."""

    def __init__(self, defects: DefectPixels, values: Values, counts: Counts) -> None:
        """Look the values up.

        Args:
            defects: Defective pixels; each of their values is in `values`.
            values: All defective values, ascending.
            counts: Of `GoodCounts` over `values`.
        """
        self._defects = defects
        self._good = int(counts.sum())
        places = 2 * np.searchsorted(values, defects.values) + 1
        up_to = np.cumsum(counts)[places]
        self._equal = counts[places]
        self._above = self._good - up_to

    def auroc(self) -> float | None:
        """Return P(defective > good) + P(equal) / 2; None without a good or a defective pixel."""
        pixels = self._defects.pixels
        if not self._good or not len(pixels):
            return None
        lost = (pixels * (self._above + self._equal / 2)).sum(dtype=np.float64)
        return float(1 - lost / self._good / pixels.sum())

    def aupro(self, limit: float) -> float | None:
        """Return the normalised area under the per-region overlap up to a false-positive rate.

        The curve has a point at every distinct z, is linear between them, and starts at (0, 0); its part up to the
        limit is integrated by trapezoids, the last one ending at the limit by interpolation, and divided by the limit
        (Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, section 4.3). Each pixel raises the curve by
        its weight from the false-positive rate on at which it is found, so the area is a sum over pixels.

        Args:
            limit: End of the integration, above 0 and at most 1.
        """
        if not self._good or not self._defects.regions:
            return None
        begin, end = self._above / self._good, (self._above + self._equal) / self._good
        rise = np.maximum(end - begin, np.finfo(np.float64).tiny)
        kept = np.clip(limit - begin, 0, None) ** 2 / (2 * rise)
        lost = np.where(end <= limit, (begin + end) / 2, limit - kept)
        # What is missing to 1 is added up: then no rounding can carry the figure above 1.
        return float(max(0.0, 1 - (self._defects.weights * lost).sum() / self._defects.regions / limit))
