"""Bold kinds: a piece of something else, as strong as the whole range of tones allows."""

from __future__ import annotations

import cv2
import numpy as np

from engines.corruptions.masks import Mask, Random, bent_line, blob, noise_islands, rectangle_or_ellipse
from engines.corruptions.pick import Pick
from engines.corruptions.tones import change, one_colour
from engines.images import Frame


def islands(picture: Frame, random: Random, pick: Pick) -> Frame:
    """Show another good frame, changed in tone, through noise-shaped islands."""
    mask = noise_islands(random, picture.shape[:2])
    return _blend(picture, change(pick(random), random), mask, random)


def patch(picture: Frame, random: Random, pick: Pick) -> Frame:
    """Paste a piece of another good frame at the wrong place."""
    height, width = picture.shape[:2]
    tall, wide = (int(side * random.uniform(0.03, 0.3)) + 2 for side in (height, width))
    top, left = (int(random.integers(room)) for room in (height - tall, width - wide))
    from_top, from_left = random.integers(height - tall), random.integers(width - wide)
    piece = pick(random)[from_top : from_top + tall, from_left : from_left + wide]
    if random.integers(2):
        piece = change(piece, random)
    filled = picture.copy()
    filled[top : top + tall, left : left + wide] = piece
    mask = rectangle_or_ellipse(random, picture.shape[:2], (left, top, wide, tall))
    return _blend(picture, filled, mask, random)


def scratch(picture: Frame, random: Random, _: Pick) -> Frame:
    """Draw a thin curved line of one colour."""
    mask = bent_line(random, picture.shape[:2])
    return _blend(picture, one_colour(picture, random), mask, random)


def stain(picture: Frame, random: Random, _: Pick) -> Frame:
    """Darken, brighten or tint a spot with soft edges."""
    mask = blob(random, picture.shape[:2], largest=0.25)
    spread = float(random.uniform(0.5, 0.04 * min(picture.shape[:2]) + 1))
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), spread), np.float32)
    gain = random.uniform(0.3, 1.7, picture.shape[2] if random.integers(2) else 1)
    return _blend(picture, np.clip(picture * gain, 0, 255).astype(np.uint8), mask, random)


def spot(picture: Frame, random: Random, _: Pick) -> Frame:
    """Cover a sharp-edged spot with one colour."""
    colour = one_colour(picture, random)
    return _blend(picture, colour, blob(random, picture.shape[:2], largest=0.2), random)


def _blend(picture: Frame, other: Frame, mask: Mask, random: Random) -> Frame:
    opacity = mask[:, :, np.newaxis] * np.float32(random.uniform(0.2, 1.0))
    mixed = picture + opacity * (other.astype(np.float32) - picture)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
