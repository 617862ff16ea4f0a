"""Shapes in which a good frame is changed: (h, w) float32, 0 outside and 1 inside."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Random = np.random.Generator
Mask = npt.NDArray[np.float32]
Rectangle = tuple[int, int, int, int]


def smooth_noise(random: Random, shape: tuple[int, ...], down: int, across: int) -> Mask:
    """Return Perlin-like noise of about so many cells a side; not only 0 and 1, but about normal."""
    lattice = random.standard_normal((down + 3, across + 3)).astype(np.float32)
    # One cell more at each side, so that the cells do not line up with the frame's border.
    noise = cv2.resize(lattice, (shape[1] * 3 // 2, shape[0] * 3 // 2), interpolation=cv2.INTER_CUBIC)
    top, left = random.integers(shape[0] // 2), random.integers(shape[1] // 2)
    return np.asarray(noise[top : top + shape[0], left : left + shape[1]], np.float32)


def noise_islands(random: Random, shape: tuple[int, ...]) -> Mask:
    """Return Perlin-like islands: smooth noise of 2^0 to 2^5 cells a side, cut at a level."""
    down, across = (2 ** random.integers(0, 6, 2)).tolist()
    noise = smooth_noise(random, shape, down, across)
    level = float(noise.mean() + random.uniform(0.7, 1.8) * noise.std())
    return (noise > level).astype(np.float32)


def blob(random: Random, shape: tuple[int, ...], *, largest: float) -> Mask:
    """Return one filled irregular shape, as wide as `largest` times the shorter side or narrower."""
    corners = int(random.integers(5, 14))
    angles = np.sort(random.uniform(0, 2 * np.pi, corners))
    radius = random.uniform(0.01, largest / 2) * min(shape) + 1
    radii = radius * random.uniform(0.4, 1.3, corners)
    stretch = random.uniform(0.5, 1.5, 2)
    points = (
        random.uniform(0, (shape[1], shape[0]))
        + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None] * stretch
    )
    mask = np.zeros(shape, np.float32)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1, cv2.LINE_AA)
    return mask


def bent_line(random: Random, shape: tuple[int, ...]) -> Mask:
    """Return a thin curved line."""
    height, width = shape
    reach = random.uniform(0.05, 0.6) * min(height, width)
    start = random.uniform(0, (width, height))
    angle, bend = random.uniform(0, 2 * np.pi), random.uniform(-1, 1)
    along = np.linspace(0, 1, 12)
    angles = angle + bend * along
    line = start + reach * along[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    mask = np.zeros((height, width), np.float32)
    thick = int(random.integers(1, max(2, min(height, width) // 50) + 1))
    cv2.polylines(
        mask, [np.rint(line).astype(np.int32)], isClosed=False, color=1, thickness=thick, lineType=cv2.LINE_AA
    )
    return mask


def rough_curve(random: Random, shape: tuple[int, ...]) -> Mask:
    """Return a line of one to three pixels along a quadratic Bezier curve, more or less shaky."""
    height, width = shape
    along = np.linspace(0, 1, 24)[:, np.newaxis]
    reach, angle = random.uniform(0.05, 0.7) * min(height, width), random.uniform(0, 2 * np.pi)
    start = random.uniform(0, (width, height))
    way = reach * np.array([np.cos(angle), np.sin(angle)])
    middle = start + way / 2 + random.normal(0, 0.2, 2) * reach
    points = (1 - along) ** 2 * start + 2 * along * (1 - along) * middle + along**2 * (start + way)
    points += random.normal(0, random.choice([0, 0.6, 1.5]), points.shape)
    mask = np.zeros((height, width), np.float32)
    thick = int(random.choice([1, 1, 1, 2, 3]))
    cv2.polylines(mask, [np.rint(points * 16).astype(np.int32)], False, 1.0, thick, cv2.LINE_AA, 4)  # noqa: FBT003
    return mask


def rectangle_or_ellipse(random: Random, shape: tuple[int, ...], inside: Rectangle) -> Mask:
    """Return the rectangle `inside` (x, y, width, height), or the ellipse in it."""
    left, top, wide, tall = inside
    mask = np.zeros(shape, np.float32)
    if random.integers(2):
        mask[top : top + tall, left : left + wide] = 1
    else:
        centre, axes = (left + wide // 2, top + tall // 2), (wide // 2, tall // 2)
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
    return mask
