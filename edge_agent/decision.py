"""The decision: z, the score, and the defects. Every verdict and every figure of the product comes from here.

z = sum over the maps of (map - location) / scale, per pixel. The score is the largest f for which {z > f} has an
8-connected region of at least `min_area` pixels; a part fails when its score is greater than the factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.inspection import Defect, Mask, Verdict
from edge_agent.thresholds import ThresholdRevision
from engines.errors import FrameError
from engines.runtime import Maps

ZMap = npt.NDArray[np.float32]

SCORE_TOLERANCE = 1e-3
_LEFT, _TOP, _WIDTH, _HEIGHT, _AREA = range(5)
NOT_INSPECTED = np.float32(-1e30)
_VERIFY = "Run `edge-engines verify` on the recipe, and fit the thresholds again."


class ShapeMismatchError(FrameError):
    """Anomaly maps and thresholds have different shapes."""


class NonFiniteErrorMapError(FrameError):
    """An error is NaN or infinite; NaN > t is False, so a broken engine would pass every part."""


class ImplausibleErrorMapError(FrameError):
    """Errors are negative, or all zero: no engine gives that for a frame, and it would pass every part."""


@dataclass(frozen=True)
class Decision:
    """What one frame's maps say. `defect_mask` is (h, w) bool, newly allocated."""

    verdict: Verdict
    score: float
    defects: tuple[Defect, ...]
    defect_mask: Mask


def check_maps(anomaly_maps: Maps) -> None:
    """Refuse what no engine gives for a frame.

    Args:
        anomaly_maps: Errors, (K, h, w) float32; read only.

    Raises:
        NonFiniteErrorMapError: An error is NaN or infinite.
        ImplausibleErrorMapError: Errors are negative or all zero.
    """
    smallest, largest = float(anomaly_maps.min()), float(anomaly_maps.max())
    if not math.isfinite(smallest) or not math.isfinite(largest):
        raise NonFiniteErrorMapError("the anomaly maps hold NaN or infinity.", reason="non_finite", fix=_VERIFY)
    if smallest < 0 or largest == 0:
        raise ImplausibleErrorMapError(
            f"the anomaly maps reach from {smallest:g} to {largest:g}, but errors are positive.",
            reason="engine_error",
            fix=_VERIFY,
        )


def z_map(anomaly_maps: Maps, thresholds: ThresholdRevision) -> ZMap:
    """Compare every pixel with what it does on good parts.

    Args:
        anomaly_maps: Errors, (K, h, w) float32, finite, >= 0; read only, not kept.
        thresholds: Location and scale in the same units.

    Returns:
        z, (h, w) float32, newly allocated; far below zero where nothing is inspected.

    Raises:
        ShapeMismatchError: The shapes differ.
        NonFiniteErrorMapError: An error, or z itself, is NaN or infinite.
        ImplausibleErrorMapError: Errors are negative or all zero.
    """
    if anomaly_maps.shape != thresholds.location.shape:
        raise ShapeMismatchError(
            f"anomaly maps have shape {anomaly_maps.shape} but thresholds have {thresholds.location.shape}.",
            reason="engine_error",
            fix="They must match: fit the thresholds with the engine that runs.",
        )
    check_maps(anomaly_maps)
    z: ZMap = np.einsum("khw,khw->hw", anomaly_maps, thresholds.gain)
    z -= thresholds.offset
    z[thresholds.ignored] = NOT_INSPECTED
    if not math.isfinite(float(z.min())) or not math.isfinite(float(z.max())):
        raise NonFiniteErrorMapError("z is NaN or infinite.", reason="non_finite", fix=_VERIFY)
    return z


def decide(anomaly_maps: Maps, thresholds: ThresholdRevision, *, roi_size_wh: tuple[int, int]) -> Decision:
    """Judge one frame.

    A pixel is defective when its z is strictly greater than the factor; a region smaller than the minimum area
    does not count and is not in the mask.

    Args:
        anomaly_maps: Errors, (K, h, w) float32; read only, not kept.
        thresholds: The revision in force.
        roi_size_wh: Size of the inspected region in camera pixels, to which boxes and areas are scaled.

    Raises:
        ShapeMismatchError: Maps and thresholds differ in shape.
        NonFiniteErrorMapError: An error is NaN or infinite.
        ImplausibleErrorMapError: Errors are negative or all zero.
    """
    z = z_map(anomaly_maps, thresholds)
    limit, min_area = thresholds.factor, thresholds.min_area_map_px
    if float(z.max()) <= limit:
        return Decision("PASS", score(z, min_area, at_most=limit), (), np.zeros(z.shape, bool))
    count, labels, stats, _ = _label(z, limit)
    kept = sorted((i for i in range(1, count) if stats[i, _AREA] >= min_area), key=lambda i: -stats[i, _AREA])
    if not kept:
        return Decision("PASS", score(z, min_area, at_most=limit), (), np.zeros(z.shape, bool))
    keep = np.zeros(count, bool)
    keep[kept] = True
    defects = tuple(_defect(z, labels, i, stats[i], roi_size_wh) for i in kept)
    return Decision("FAIL", score(z, min_area, above=limit), defects, keep[labels])


def score(z: ZMap, min_area: int, *, above: float | None = None, at_most: float | None = None) -> float:
    """Return the largest f for which {z > f} has an 8-connected region of at least `min_area` pixels, to 0.1 %.

    The value returned is always one at which there is no such region any more, so a frame whose score is the
    factor passes. The search halves an interval; whatever cannot hold the answer is cut away on the way.

    Args:
        z: (h, w) float32, finite; read only.
        min_area: Pixels, from 1 to h * w.
        above: A value known to be exceeded.
        at_most: A value known not to be exceeded.
    """
    high = float(z.max()) if at_most is None else min(float(z.max()), at_most)
    low = _lower_bound(z, min_area) if above is None else above
    if low >= high:
        return high
    peak = low
    for window in sorted(_windows_with_region(z, low, min_area), key=lambda window: -float(window.max())):
        peak = _search(window, min_area, low, peak, min(high, float(window.max())))
    return max(peak, low)


def _lower_bound(z: ZMap, min_area: int) -> float:
    """Return an f with a large enough region at every smaller one: the best rectangle of that many pixels.

    The smallest value in each rectangle is an erosion; its largest one is the level at which a whole rectangle is
    above everything smaller.
    """
    height, width = z.shape
    across = min(width, math.ceil(math.sqrt(min_area)))
    down = min(height, math.ceil(min_area / across))
    across = max(across, math.ceil(min_area / down))
    border = float(np.finfo(np.float32).min)
    eroded = cv2.erode(z, np.ones((down, across), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=border)
    return float(np.nextafter(np.float32(eroded.max()), np.float32(-np.inf)))


def _search(window: ZMap, min_area: int, low: float, peak: float, high: float) -> float:
    """Return the larger of `peak` and the window's own score, which lies above `low` and not above `high`."""
    inner = [window]
    while high > peak and high - low > SCORE_TOLERANCE * max(abs(high), 1.0):
        middle = max((low + high) / 2, peak)
        found = [part for view in inner for part in _windows_with_region(view, middle, min_area)]
        if found:
            low, inner = middle, found
        else:
            high = middle
    return max(peak, high)


def _windows_with_region(z: ZMap, limit: float, min_area: int) -> list[ZMap]:
    """Return the part of z around each large enough region of {z > limit}."""
    _, _, stats, _ = _label(z, limit)
    large = stats[1:][stats[1:, _AREA] >= min_area]
    return [z[top : top + height, left : left + width] for left, top, width, height, _ in large.tolist()]


def _label(z: ZMap, limit: float) -> tuple[int, npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    return cv2.connectedComponentsWithStats((z > limit).view(np.uint8), connectivity=8, ltype=cv2.CV_32S)  # type: ignore[return-value]


def _defect(
    z: ZMap, labels: npt.NDArray[np.int32], label: int, stats: npt.NDArray[np.int32], roi_size_wh: tuple[int, int]
) -> Defect:
    left, top, width, height, area = (int(value) for value in stats)
    inside = labels[top : top + height, left : left + width] == label
    peak = float(z[top : top + height, left : left + width][inside].max())
    across, down = roi_size_wh[0] / z.shape[1], roi_size_wh[1] / z.shape[0]
    x, y = int(left * across), int(top * down)
    right, bottom = int(np.ceil((left + width) * across)), int(np.ceil((top + height) * down))
    return Defect((x, y, right - x, bottom - y), round(area * across * down), round(peak, 4))
