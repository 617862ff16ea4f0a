"""Location and scale of every map pixel over many frames, in memory that does not grow with them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engines.runtime import Maps

SMOOTHING_MAP_PX = 4.0
FLOOR_SHARE = 0.25


class RunningMoments:
    """Mean and standard deviation by Welford's method (Technometrics 4(3), 1962): stable in one pass."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: npt.NDArray[np.float64] | None = None
        self._squares: npt.NDArray[np.float64] | None = None

    def add(self, anomaly_maps: Maps) -> None:
        """Take one frame's maps, (K, h, w) float32, into account; they are not kept."""
        values = anomaly_maps.astype(np.float64)
        if self._mean is None or self._squares is None:
            self._mean, self._squares = np.zeros_like(values), np.zeros_like(values)
        self.count += 1
        difference = values - self._mean
        self._mean += difference / self.count
        self._squares += difference * (values - self._mean)

    def location_and_scale(self) -> tuple[Maps, Maps]:
        """Return both as (K, h, w) float32, newly allocated.

        The standard deviation is smoothed over neighbours and has a quarter of its mean added: a pixel that never
        varied must not decide alone.

        Raises:
            ValueError: Fewer than two frames were added.
        """
        if self._mean is None or self._squares is None or self.count < 2:  # noqa: PLR2004
            raise ValueError("location and scale need at least 2 frames")
        deviation = np.sqrt(self._squares / (self.count - 1)).astype(np.float32)
        scale = np.stack([_smooth_with_floor(plane) for plane in deviation])
        return self._mean.astype(np.float32), scale


def _smooth_with_floor(deviation: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    smooth = cv2.GaussianBlur(deviation, (0, 0), SMOOTHING_MAP_PX, borderType=cv2.BORDER_REFLECT)
    floor = max(FLOOR_SHARE * float(deviation.mean()), float(np.finfo(np.float32).tiny) * 1e6)
    return np.asarray(smooth + np.float32(floor), np.float32)
