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
_AT_ONCE = 500_000


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


@dataclass(frozen=True)
class Losses:
    """What a set of defective pixels lacks to perfect figures. Sums over pixels: those of several sets add up.

    Attributes:
        pixels: How many there are.
        regions: In how many regions.
        auroc: The share of good pixels above each pixel and half of those that equal it.
        aupro: For each limit, each pixel's weight times the part of the limit at which it is not found yet.
    """

    pixels: int
    regions: int
    auroc: float
    aupro: tuple[float, ...]

    def __add__(self, other: Losses) -> Losses:
        aupro = tuple(a + b for a, b in zip(self.aupro, other.aupro, strict=True))
        return Losses(self.pixels + other.pixels, self.regions + other.regions, self.auroc + other.auroc, aupro)

    def figures(self) -> tuple[float | None, list[float | None]]:
        """Return pixel AUROC, and AUPRO for each limit; None without defective pixels.

        What is missing to 1 was added up, so no rounding can carry a figure above 1.
        """
        if not self.regions:
            return None, [None] * len(self.aupro)
        return max(0.0, 1 - self.auroc / self.pixels), [max(0.0, 1 - lost / self.regions) for lost in self.aupro]


def losses(defects: DefectPixels, values: Values, up_to: Counts, limits: Sequence[float]) -> Losses:
    """Compare defective pixels with good ones.

    Pixel AUROC is P(defective > good) + P(equal) / 2. AUPRO is the normalised area under the per-region overlap up to a
    false-positive rate, the limit: the curve has a point at every distinct z, is linear between them, and starts at
    (0, 0); it is integrated by trapezoids, the last one ending at the limit by interpolation, and divided by the limit
    (Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, section 4.3). Each pixel raises the curve by its
    weight from the false-positive rate on at which it is found, so the area is a sum over pixels.

    Args:
        defects: Each of their values is in `values`.
        values: (n,) float32, ascending.
        up_to: `GoodCounts.counts` over `values`, cumulated; at least one good pixel.
        limits: Ends of the integration for AUPRO, above 0 and at most 1.
    """
    good = int(up_to[-1])
    total = Losses(0, defects.regions, 0.0, (0.0,) * len(limits))
    for start in range(0, len(defects.values), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        places = 2 * np.searchsorted(values, defects.values[part]) + 1
        begin, end = (good - up_to[places]) / good, (good - up_to[places - 1]) / good
        pixels, weights = defects.pixels[part], defects.weights[part]
        aupro = tuple(float((weights * _not_found(begin, end, limit)).sum()) for limit in limits)
        total += Losses(int(pixels.sum()), 0, float((pixels * (begin + end)).sum() / 2), aupro)
    return total


def _not_found(begin: Numbers, end: Numbers, limit: float) -> Numbers:
    """Return the part of the limit in which pixels are not found, that are found evenly from `begin` to `end`."""
    rise = np.maximum(end - begin, np.finfo(np.float64).tiny)
    found = np.clip(limit - begin, 0, None) ** 2 / (2 * rise)
    return np.where(end <= limit, (begin + end) / 2, limit - found) / limit
