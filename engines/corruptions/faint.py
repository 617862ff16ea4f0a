"""Faint kinds: as strong as the part's own fine structure and up to ten times as much, mostly darker.

What a network practises on bold defects only, it finds only when they are bold; most real ones are thin, small or soft.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engines.corruptions.masks import Mask, Random, blob, rough_curve, smooth_noise
from engines.corruptions.pick import Pick
from engines.images import Frame

_Pixels = npt.NDArray[np.float32]
_FINE_MAP_PX = 3.0
_LEAST_CODES = 3.0
_MOST_PITS = 10


def crack(picture: Frame, random: Random, _: Pick) -> Frame:
    """Draw a rough line, one to three pixels wide."""
    mask = rough_curve(random, picture.shape[:2])
    if random.integers(2):
        mask = _blurred(mask, random.uniform(0.4, 1.2))
        mask = mask / np.float32(max(mask.max(), 1e-6))
    return _shade(picture, mask, random, (1.0, 10.0))


def pits(picture: Frame, random: Random, _: Pick) -> Frame:
    """Draw one small spot or a group of them."""
    height, width = picture.shape[:2]
    mask = np.zeros((height, width), np.float32)
    middle, spread = random.uniform(0, (width, height)), random.uniform(3, 20)
    count = int(random.choice([1, 1, 2, 5, _MOST_PITS]))
    for _index in range(count):
        centre = middle + random.normal(0, spread, 2) * (count > 1)
        axes = np.exp(random.uniform(0, np.log(9), 2))
        place, reach = (tuple(np.rint(pair * 16).astype(int).tolist()) for pair in (centre, axes))
        cv2.ellipse(mask, place, reach, random.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA, 4)
    mask = _blurred(mask, random.uniform(0.3, 2))
    return _shade(picture, mask, random, (1.0, 10.0))


def cloud(picture: Frame, random: Random, _: Pick) -> Frame:
    """Darken or brighten soft areas of any size."""
    cells = int(2 ** random.integers(1, 5))
    noise = smooth_noise(random, picture.shape[:2], cells, cells)
    level = noise.mean() + random.uniform(0.7, 2) * noise.std()
    mask = 1 / (1 + np.exp(-random.uniform(2, 12) * (noise - level)))
    return _shade(picture, mask.astype(np.float32), random, (0.5, 5.0))


def graft(picture: Frame, random: Random, pick: Pick) -> Frame:
    """Replace the fine structure of a place by that of another place; its tone stays."""
    height, width = picture.shape[:2]
    source = pick(random).astype(np.float32)
    if random.integers(2):
        source = source[::-1, ::-1]
    source = np.roll(source, (int(random.integers(height)), int(random.integers(width))), (0, 1))
    coarse = random.uniform(3, 20)
    mixed = _blurred(picture, coarse) + (source - _blurred(source, coarse)) * np.float32(random.uniform(0.7, 1.8))
    mask = _blurred(blob(random, (height, width), largest=0.35), random.uniform(0.5, 3))
    return _mix(picture, mixed, mask)


def soften(picture: Frame, random: Random, _: Pick) -> Frame:
    """Blur a place, or sharpen it."""
    blurred = _blurred(picture, random.uniform(1, 5))
    mask = _blurred(blob(random, picture.shape[:2], largest=0.3), 1.0)
    return _mix(picture, blurred if random.random() < 2 / 3 else 2 * picture - blurred, mask)


def _shade(picture: Frame, mask: Mask, random: Random, strengths: tuple[float, float]) -> Frame:
    """Add a tone under a mask: `strengths` are the least and the most in units of the picture's fine structure."""
    grey = picture.mean(axis=2, dtype=np.float32)
    fine = max(_LEAST_CODES, float((grey - cv2.GaussianBlur(grey, (0, 0), _FINE_MAP_PX)).std()))
    least, most = strengths
    codes = fine * np.exp(random.uniform(np.log(least), np.log(most))) * random.choice([-1, -1, 1])
    channels = picture.shape[2]
    tint = np.ones(channels)
    if random.random() >= 0.6:
        tint = random.uniform(0.2, 1.2, channels) * random.choice([-1, 1], channels, p=[0.15, 0.85])
    return _mix(picture, picture + (codes * tint).astype(np.float32), mask)


def _mix(picture: Frame, other: _Pixels, mask: Mask) -> Frame:
    mixed = picture + mask[:, :, np.newaxis] * (other - picture)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _blurred(picture: Frame | _Pixels, spread: float) -> _Pixels:
    blurred = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), spread)
    return np.asarray(blurred, np.float32).reshape(picture.shape)
