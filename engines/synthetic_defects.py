"""Defects drawn on good frames, to choose settings and to prove that a station still sees.

A generator of its own: training's corruptions (`engines.corruptions`) share no code and no shapes with it, so that a
setting is not chosen on what the network has practised.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from engines.images import Frame

_Random = np.random.Generator
_Field = npt.NDArray[np.float32]
_Point = npt.NDArray[np.float64]

SMALLEST, LARGEST = 0.02, 0.12
FAINTEST, STRONGEST = 0.08, 0.6
_TEST_PIECE_SIDE = 0.3
_TEST_PIECE_CELLS = 4
_MIDDLE_CODE = 128


def add_defect(picture: Frame, seed: tuple[int, ...]) -> Frame:
    """Return a copy of a good frame with one defect: small to medium, faint to strong.

    Args:
        picture: (h, w, C') uint8; read only.
        seed: The same numbers give the same defect.
    """
    random = np.random.default_rng(seed)
    side = min(picture.shape[:2])
    size = side * float(np.exp(random.uniform(np.log(SMALLEST), np.log(LARGEST))))
    strength = float(np.exp(random.uniform(np.log(FAINTEST), np.log(STRONGEST))))
    middle = random.uniform(0.12, 0.88, 2) * (picture.shape[1], picture.shape[0])
    return _DEFECTS[random.integers(len(_DEFECTS))](picture, random, middle, size, strength)


def draw_test_piece(frame: Frame, region_xywh_px: tuple[int, int, int, int], which: int) -> Frame:
    """Return a copy of a good frame with a defect that every working station must reject.

    A checkerboard as wide as 30 % of the shorter side, in the ROI's middle (the first) or towards a corner; its
    cells are black where the part is bright and white where it is dark, in turn with the part itself.

    Args:
        frame: (H, W, C) uint8; read only.
        region_xywh_px: Where the part is shown.
        which: Number of the test piece; each of the first five lies elsewhere.
    """
    x, y, width, height = region_xywh_px
    side = max(_TEST_PIECE_CELLS, int(min(width, height) * _TEST_PIECE_SIDE))
    across, down = ((0.5, 0.5), (0.3, 0.3), (0.7, 0.7), (0.7, 0.3), (0.3, 0.7))[which % 5]
    left, top = x + int(width * across - side / 2), y + int(height * down - side / 2)
    cell = np.arange(side) * _TEST_PIECE_CELLS // side
    odd = (cell[:, None] + cell[None, :]) % 2 == 0
    result = frame.copy()
    patch = result[top : top + side, left : left + side]
    # The median of the cell, so that texture does not break a cell up.
    for row in range(_TEST_PIECE_CELLS):
        for column in range(_TEST_PIECE_CELLS):
            inside = np.ix_(cell == row, cell == column)
            if odd[inside].all():
                patch[inside] = 0 if np.median(patch[inside]) >= _MIDDLE_CODE else 255
    return result


def _crack(picture: Frame, random: _Random, middle: _Point, size: float, strength: float) -> Frame:
    # A jagged walk that tapers off.
    steps = 14
    turns = np.cumsum(random.normal(0, 0.5, steps)) + random.uniform(0, 2 * np.pi)
    walk = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1), 0) * (2 * size / steps)
    points = walk - walk.mean(0) + middle
    shade = np.zeros(picture.shape[:2], np.float32)
    for index in range(steps - 1):
        ends = np.rint(points[index : index + 2] * 16).astype(int)
        thick = 1 + int(size / 12 * (1 - index / steps))
        cv2.line(shade, tuple(ends[0].tolist()), tuple(ends[1].tolist()), 1.0, thick, cv2.LINE_AA, 4)
    return _shift_tone(picture, shade, strength * random.choice([-1, -1, 1]))


def _dent(picture: Frame, random: _Random, middle: _Point, size: float, strength: float) -> Frame:
    # Bright on the side towards the light, dark on the other, as a hollow looks.
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    spread = max(1.0, size / 2)
    across, down = (columns - np.float32(middle[0])) / spread, (rows - np.float32(middle[1])) / spread
    light = random.uniform(0, 2 * np.pi)
    slope = (across * np.cos(light) + down * np.sin(light)) * np.exp(-0.5 * (across**2 + down**2)) * 1.65
    return _shift_tone(picture, slope.astype(np.float32), strength)


def _grain(picture: Frame, random: _Random, middle: _Point, size: float, strength: float) -> Frame:
    # A rough spot: speckle under a round window.
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    distance = np.hypot(columns - np.float32(middle[0]), rows - np.float32(middle[1]))
    window = np.clip(1.5 - distance / np.float32(max(1.0, size / 2)), 0, 1)
    speckle = cv2.GaussianBlur(random.standard_normal(picture.shape[:2]).astype(np.float32), (0, 0), 1.0) * 3
    return _shift_tone(picture, np.clip(speckle, -1.5, 1.5) * window, strength)


def _smear(picture: Frame, random: _Random, middle: _Point, size: float, strength: float) -> Frame:
    # A feature that is missing: its place looks like its blurred surroundings, slightly off in tone.
    mask = np.zeros(picture.shape[:2], np.float32)
    centre = (int(middle[0]), int(middle[1]))
    axes = (max(1, int(size / 2)), max(1, int(size / 2 * random.uniform(0.4, 1.0))))
    cv2.ellipse(mask, centre, axes, float(random.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
    blurred = cv2.GaussianBlur(picture, (0, 0), size / 2 + 1).reshape(picture.shape).astype(np.float32)
    away = np.where(blurred.mean() >= _MIDDLE_CODE, -1.0, 1.0) * strength * 60
    mixed = picture + mask[:, :, None] * (blurred + away - picture)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _displaced(picture: Frame, random: _Random, middle: _Point, size: float, strength: float) -> Frame:
    # The part's own features, pushed aside under a smooth window.
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    spread = max(2.0, size)
    window = np.exp(-0.5 * ((columns - middle[0]) ** 2 + (rows - middle[1]) ** 2) / spread**2)
    angle, reach = random.uniform(0, 2 * np.pi), spread * strength
    moved = cv2.remap(
        picture,
        (columns + window * reach * np.cos(angle)).astype(np.float32),
        (rows + window * reach * np.sin(angle)).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(moved, np.uint8).reshape(picture.shape)


def _shift_tone(picture: Frame, shade: _Field, strength: float) -> Frame:
    shifted = picture + shade[:, :, np.newaxis] * np.float32(strength * 255)
    return np.clip(np.rint(shifted), 0, 255).astype(np.uint8)


_DEFECTS: list[Callable[[Frame, _Random, _Point, float, float], Frame]] = [_crack, _dent, _grain, _smear, _displaced]
