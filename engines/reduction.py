"""From the camera's frame to the size at which the autoencoder works: the CPU's twin of the graph's first nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import UsageError
from engines.images import Frame
from engines.tiling import (
    SIDE_MULTIPLE,
    SMALLEST_SIDE_MAP_PX,
    Tiles,
    Tiling,
    check_region,
    check_tiles,
    longest_length,
    plan_tiling,
    span_of,
)

LARGEST_SIDE_MAP_PX = 4096
# Enlarging adds pixels to compute and nothing to see; a little of it reaches the smallest map.
_MOST_ENLARGED = 2
_WELL_SEEN = 0.9


@dataclass(frozen=True)
class Geometry:
    """Which part of a frame is inspected, and at which size.

    Attributes:
        frame_shape: (H, W, C) of the camera's frame in pixels.
        roi_xywh_px: The inspected region in camera pixels.
        map_shape: (h, w) of the anomaly maps.
        tiles: Rows and columns of tiles in which the network sees the map.
    """

    frame_shape: tuple[int, int, int]
    roi_xywh_px: tuple[int, int, int, int]
    map_shape: tuple[int, int]
    tiles: Tiles = (1, 1)

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

    @property
    def seen_share(self) -> float:
        """How much of the region reaches the maps: the linear step behind the box average takes 2 x 2 of its pixels for one."""
        return self._seen_share(self.box)

    def trimmed(self) -> Geometry:
        """Return the geometry without the few columns and rows, right and below, for which others would not be seen."""
        x, y, width, height = self.roi_xywh_px
        largest = max(1, min(height // self.map_shape[0], width // self.map_shape[1]))
        k = max(range(1, largest + 1), key=lambda k: self._seen_share(k) * (width - width % k) * (height - height % k))
        return replace(self, roi_xywh_px=(x, y, width - width % k, height - height % k))

    @property
    def remark(self) -> str | None:
        """What a person should know of pixels that are not looked at."""
        _, _, width, height = self.roi_xywh_px
        columns, rows = self.frame_shape[1] - width, self.frame_shape[0] - height
        if self.seen_share < _WELL_SEEN:
            trimmed = self.trimmed()
            better = f"--roi {','.join(map(str, trimmed.roi_xywh_px))}" if trimmed != self else "a larger --size"
            return f"only {self.seen_share:.0%} of the inspected pixels reach the maps; more of them do with {better}"
        if 0 < max(columns, rows) < self.box:
            return f"not inspected, so that all other pixels are: {columns} columns on the right, {rows} rows below"
        return None

    def _seen_share(self, k: int) -> float:
        _, _, width, height = self.roi_xywh_px
        down, across = height / k / self.map_shape[0], width / k / self.map_shape[1]
        return min(1.0, 2 / down) * min(1.0, 2 / across)

    @property
    def tiling(self) -> Tiling:
        """How the map is cut."""
        return plan_tiling(self.map_shape, self.tiles)

    def check(self) -> None:
        """Refuse a geometry that the network or the frame cannot satisfy.

        Raises:
            UsageError: The ROI leaves the frame, a map side is below 64, not divisible by 16, or more than twice the
                ROI's, or there are too many tiles for the map.
        """
        _check_region(self.frame_shape, self.roi_xywh_px)
        _, _, width, height = self.roi_xywh_px
        check_map_shape(self.map_shape)
        if self.map_shape[0] > _MOST_ENLARGED * height or self.map_shape[1] > _MOST_ENLARGED * width:
            raise _enlarges(self.map_shape, (height, width))
        plan_tiling(self.map_shape, self.tiles)


def plan_geometry(
    frame_shape: tuple[int, int, int],
    roi_xywh_px: tuple[int, int, int, int] | None,
    size: int | tuple[int, int],
    tiles: Tiles = (1, 1),
) -> Geometry:
    """Return what is inspected at which size.

    Args:
        frame_shape: (H, W, C) of the camera's frame in pixels.
        roi_xywh_px: The inspected region; None takes the whole frame, but for a few columns and rows where no box fits.
        size: (h, w) of the maps, or one number; see `map_shape_for`.
        tiles: Rows and columns of tiles.

    Raises:
        UsageError: The frame or the network cannot satisfy it.
    """
    roi = roi_xywh_px or (0, 0, frame_shape[1], frame_shape[0])
    check_map_shape(size)
    check_tiles(tiles)
    _check_region(frame_shape, roi)
    if isinstance(size, int):
        check_region((roi[3], roi[2]), tiles)
        size = map_shape_for((roi[3], roi[2]), size, tiles)
    geometry = Geometry(frame_shape, roi, size, tiles)
    geometry.check()
    return geometry if roi_xywh_px else geometry.trimmed()


def map_shape_for(region_shape: tuple[int, int], size: int, tiles: Tiles = (1, 1)) -> tuple[int, int]:
    """Return the map size in a region's own aspect ratio whose tiles have about `size` x `size` pixels each.

    Both sides of a tile are the nearest multiples of 16, at least 64; the map is as large as the tiles cover, at most
    4096, and not larger than the region. Where a tile's shorter side would fall below 64, it is 64 and the longer one
    keeps the number of pixels, not the aspect.

    Args:
        region_shape: (height, width) of the inspected region in camera pixels.
        size: Side of the square tile that has as many pixels.
        tiles: Rows and columns of tiles; 1 x 1 is the map itself.

    Returns:
        (h, w).
    """
    height, width = region_shape
    down, across = (span_of(count) for count in tiles)
    scale = min(1.0, size * math.sqrt(down * across) / math.sqrt(height * width))
    # The longest side that leaves the number of pixels to a shorter one of at least 64.
    longest = scale * scale * height * width / SMALLEST_SIDE_MAP_PX / (down * across)
    tile_height, tile_width = (min(side, longest) for side in (scale * height / down, scale * width / across))
    return _snap(tile_height, height, tiles[0]), _snap(tile_width, width, tiles[1])


def check_map_shape(size: int | tuple[int, int]) -> None:
    """Refuse a map size that the network cannot have.

    Raises:
        UsageError: A side is below 64, above 4096 or not divisible by 16.
    """
    sides = (size, size) if isinstance(size, int) else size
    if any(side % SIDE_MULTIPLE or not SMALLEST_SIDE_MAP_PX <= side <= LARGEST_SIDE_MAP_PX for side in sides):
        raise UsageError(
            f"the map size {sides[1]}x{sides[0]} is not possible: the network halves it four times.",
            fix="Give --size with sides from 64 to 4096 that are divisible by 16, such as 256 or 320x192.",
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


def _check_region(frame_shape: tuple[int, int, int], roi_xywh_px: tuple[int, int, int, int]) -> None:
    x, y, width, height = roi_xywh_px
    frame_height, frame_width, _ = frame_shape
    if min(x, y) < 0 or min(width, height) < 1 or x + width > frame_width or y + height > frame_height:
        raise UsageError(
            f"the ROI {x},{y},{width},{height} leaves the frame of {frame_width} x {frame_height} pixels.",
            fix="Give --roi X,Y,W,H inside the frame.",
        )


def _snap(tile_side: float, available: int, count: int = 1) -> int:
    nearest = max(SMALLEST_SIDE_MAP_PX, round(tile_side / SIDE_MULTIPLE) * SIDE_MULTIPLE)
    largest = min(available // SIDE_MULTIPLE * SIDE_MULTIPLE, LARGEST_SIDE_MAP_PX)
    return max(SMALLEST_SIDE_MAP_PX, min(longest_length(nearest, count), largest))


def _enlarges(map_shape: tuple[int, int], region_shape: tuple[int, int]) -> UsageError:
    height, width = region_shape
    fix = f"Give --size {_snap(width, width)}x{_snap(height, height)} or smaller, or a larger --roi."
    if _MOST_ENLARGED * min(region_shape) < SMALLEST_SIDE_MAP_PX:
        fix = f"Give a --roi of at least {SMALLEST_SIDE_MAP_PX // _MOST_ENLARGED} pixels a side."
    return UsageError(
        f"maps of {map_shape[1]}x{map_shape[0]} would enlarge the inspected region of {width} x {height} camera pixels "
        f"more than {_MOST_ENLARGED} times, which shows nothing more.",
        fix=fix,
    )
