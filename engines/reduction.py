"""From the camera's frame to the size at which the autoencoder works: the CPU's twin of the graph's first nodes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import UsageError
from engines.images import Frame

SIDE_MULTIPLE = 16
SMALLEST_SIDE_MAP_PX = 64


@dataclass(frozen=True)
class Geometry:
    """Which part of a frame is inspected, and at which size.

    Attributes:
        frame_shape: (H, W, C) of the camera's frame in pixels.
        roi_xywh_px: The inspected region in camera pixels.
        map_shape: (h, w) of the anomaly maps.
    """

    frame_shape: tuple[int, int, int]
    roi_xywh_px: tuple[int, int, int, int]
    map_shape: tuple[int, int]

    @property
    def channels(self) -> int:
        """Channels that are inspected: 1 for grey, else 3; a fourth one is ignored."""
        return 1 if self.frame_shape[2] == 1 else 3

    @property
    def box(self) -> int:
        """Side of the exact box average: the largest that divides both ROI sides and leaves at least the map, else 1."""
        _, _, width, height = self.roi_xywh_px
        largest = min(height // self.map_shape[0], width // self.map_shape[1])
        return next((k for k in range(largest, 1, -1) if height % k == 0 and width % k == 0), 1)

    def check(self) -> None:
        """Refuse a geometry that the network or the frame cannot satisfy.

        Raises:
            UsageError: The ROI leaves the frame, or a map side is below 64 or not divisible by 16.
        """
        x, y, width, height = self.roi_xywh_px
        frame_height, frame_width, _ = self.frame_shape
        if min(x, y) < 0 or min(width, height) < 1 or x + width > frame_width or y + height > frame_height:
            raise UsageError(
                f"the ROI {x},{y},{width},{height} leaves the frame of {frame_width} x {frame_height} pixels.",
                fix="Give --roi X,Y,W,H inside the frame.",
            )
        check_map_shape(self.map_shape)


def check_map_shape(map_shape: tuple[int, int]) -> None:
    """Refuse a map size that the network cannot have.

    Raises:
        UsageError: A side is below 64 or not divisible by 16.
    """
    if any(side % SIDE_MULTIPLE or side < SMALLEST_SIDE_MAP_PX for side in map_shape):
        raise UsageError(
            f"the map size {map_shape[1]}x{map_shape[0]} is not possible: the network halves it four times.",
            fix="Give --size with sides of at least 64 that are divisible by 16, such as 256 or 320x192.",
        )


def reduce_frame(frame: Frame, geometry: Geometry) -> npt.NDArray[np.float32]:
    """Cut out the ROI and scale it as the engine's graph does.

    Args:
        frame: (H, W, C) uint8; read only.
        geometry: What to cut and how far to scale.

    Returns:
        (h, w, C') float32 in [0, 255], newly allocated.
    """
    x, y, width, height = geometry.roi_xywh_px
    region = frame[y : y + height, x : x + width, : geometry.channels].astype(np.float32)
    k = geometry.box
    if k > 1:
        region = region.reshape(height // k, k, width // k, k, -1).mean(axis=(1, 3))
    map_height, map_width = geometry.map_shape
    if region.shape[:2] == geometry.map_shape:
        return region
    scaled = cv2.resize(region, (map_width, map_height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(scaled, np.float32).reshape(map_height, map_width, geometry.channels)
