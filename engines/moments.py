"""Location and scale of every map pixel over many frames, in memory that does not grow with them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engines.runtime import Maps

SMOOTHING_MAP_PX = 4.0
FLOOR_SHARE = 0.25
FEWEST = 2


class RunningMoments:
    """Mean and standard deviation by Welford's method (Technometrics 4(3), 1962): stable in one pass."""

    def __init__(self) -> None:
        self._counts: npt.NDArray[np.int64] | None = None
        self._mean = np.zeros(0)
        self._squares = np.zeros(0)

    def add(self, anomaly_maps: Maps, padding: npt.NDArray[np.bool_] | None = None) -> None:
        """Take one frame into account.

        Args:
            anomaly_maps: (K, h, w) float32; not kept.
            padding: (h, w) bool, True where the frame shows nothing of the part; None if it is all part.
        """
        if self._counts is None:
            self._counts = np.zeros(anomaly_maps.shape[1:], np.int64)
            self._mean, self._squares = np.zeros(anomaly_maps.shape), np.zeros(anomaly_maps.shape)
        seen = np.ones(anomaly_maps.shape[1:], bool) if padding is None else ~padding
        self._counts += seen
        difference = np.where(seen, anomaly_maps - self._mean, 0.0)
        self._mean += difference / np.maximum(self._counts, 1)
        self._squares += difference * (anomaly_maps - self._mean)

    def without(self, anomaly_maps: Maps, padding: npt.NDArray[np.bool_] | None = None) -> RunningMoments:
        """Return what they would be without a frame that was added: the step backwards; newly allocated.

        Args:
            anomaly_maps: As they were added.
            padding: As it was added.

        Raises:
            ValueError: None was added.
        """
        if self._counts is None:
            raise ValueError("no frame was added")
        seen = np.ones(anomaly_maps.shape[1:], bool) if padding is None else ~padding
        left = RunningMoments()
        left._counts = self._counts - seen
        difference = np.where(seen, anomaly_maps - self._mean, 0.0)
        left._mean = self._mean - difference / np.maximum(left._counts, 1)
        left._squares = np.maximum(self._squares - difference * (anomaly_maps - left._mean), 0.0)
        return left

    def location_and_scale(self) -> tuple[Maps, Maps]:
        """Return both as (K, h, w) float32, newly allocated.

        The standard deviation is smoothed over neighbours and has a quarter of its mean added: a pixel that never
        varied must not decide alone. A pixel that fewer than two frames showed has scale +inf: never inspected.

        Raises:
            ValueError: Fewer than two frames were added.
        """
        if self._counts is None or self._counts.max() < FEWEST:
            raise ValueError(f"location and scale need at least {FEWEST} frames")
        seen = self._counts >= FEWEST
        deviation = np.sqrt(self._squares / np.maximum(self._counts - 1, 1)).astype(np.float32)
        scale = np.stack([_smooth_with_floor(plane, seen) for plane in deviation])
        return self._mean.astype(np.float32), scale


def _smooth_with_floor(deviation: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    weight = cv2.GaussianBlur(seen.astype(np.float32), (0, 0), SMOOTHING_MAP_PX, borderType=cv2.BORDER_REFLECT)
    smooth = cv2.GaussianBlur(deviation * seen, (0, 0), SMOOTHING_MAP_PX, borderType=cv2.BORDER_REFLECT)
    floor = max(FLOOR_SHARE * float(deviation[seen].mean()), float(np.finfo(np.float32).tiny) * 1e6)
    scale = smooth / np.maximum(weight, np.finfo(np.float32).eps) + floor
    return np.where(seen, scale, np.inf).astype(np.float32)
