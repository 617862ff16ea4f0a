"""What training does to good frames so that the network learns to take it away again.

All of it is made from the good frames themselves and from chance; nothing here is used to choose a setting or to
test a station (`engines.synthetic_defects` is a generator of its own for that).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from engines.images import Frame

CLEAN_SHARE = 0.5
_Random = np.random.Generator
_Mask = npt.NDArray[np.float32]


class Corruptor:
    """Makes training pairs from good frames.

    Args:
        pictures: Good frames at map size, (n, h, w, C') uint8; read only, kept.
        rotates: The part lies at any angle: pairs are turned and shifted at random.
    """

    def __init__(self, pictures: Frame, *, rotates: bool) -> None:
        self._pictures = pictures
        self._rotates = rotates

    def batch(self, seed: tuple[int, ...], count: int) -> tuple[Frame, Frame]:
        """Return corrupted and clean frames, each (count, h, w, C') uint8; half of them on average are equal.

        Args:
            seed: The same numbers give the same batch.
            count: How many pairs.
        """
        random = np.random.default_rng(seed)
        clean = np.stack([self._pick(random) for _ in range(count)])
        corrupted = clean.copy()
        for index in range(count):
            if random.random() >= CLEAN_SHARE:
                corrupted[index] = self.corrupt(clean[index], random)
        return corrupted, clean

    def corrupt(self, picture: Frame, random: _Random) -> Frame:
        """Return a copy of a picture, (h, w, C') uint8, with one to three defects in it."""
        result = picture
        for _ in range(int(random.integers(1, 4))):
            kind = random.choice(5, p=[0.4, 0.25, 0.1, 0.1, 0.15])
            result = _KINDS[kind](self, result, random)
        return result

    def _pick(self, random: _Random) -> Frame:
        picture = self._pictures[random.integers(len(self._pictures))]
        if not self._rotates:
            return np.asarray(picture)
        height, width = picture.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), random.uniform(0, 360), 1.0)
        turn[:, 2] += random.uniform(-0.02, 0.02, 2) * (width, height)
        turned = cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(turned, np.uint8).reshape(picture.shape)

    def _fill_noise(self, picture: Frame, random: _Random) -> Frame:
        mask = _noise_mask(random, picture.shape[:2])
        return _blend(picture, _change(self._pick(random), random), mask, random)

    def _paste_patch(self, picture: Frame, random: _Random) -> Frame:
        height, width = picture.shape[:2]
        tall, wide = (int(side * random.uniform(0.03, 0.3)) + 2 for side in (height, width))
        top, left = random.integers(height - tall), random.integers(width - wide)
        from_top, from_left = random.integers(height - tall), random.integers(width - wide)
        source = self._pick(random)
        patch = source[from_top : from_top + tall, from_left : from_left + wide]
        if _even(random):
            patch = _change(patch, random)
        filled = picture.copy()
        filled[top : top + tall, left : left + wide] = patch
        mask = np.zeros((height, width), np.float32)
        if _even(random):
            mask[top : top + tall, left : left + wide] = 1
        else:
            centre, axes = (left + wide // 2, top + tall // 2), (wide // 2, tall // 2)
            cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
        return _blend(picture, filled, mask, random)

    def _scratch(self, picture: Frame, random: _Random) -> Frame:
        height, width = picture.shape[:2]
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
        return _blend(picture, _one_colour(picture, random), mask, random)

    def _stain(self, picture: Frame, random: _Random) -> Frame:
        mask = _blob(random, picture.shape[:2], largest=0.25)
        spread = float(random.uniform(0.5, 0.04 * min(picture.shape[:2]) + 1))
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), spread), np.float32)
        gain = random.uniform(0.3, 1.7, picture.shape[2] if _even(random) else 1)
        return _blend(picture, np.clip(picture * gain, 0, 255).astype(np.uint8), mask, random)

    def _fill_blob(self, picture: Frame, random: _Random) -> Frame:
        return _blend(picture, _one_colour(picture, random), _blob(random, picture.shape[:2], largest=0.2), random)


_KINDS: list[Callable[[Corruptor, Frame, _Random], Frame]] = [
    Corruptor._fill_noise,  # noqa: SLF001
    Corruptor._paste_patch,  # noqa: SLF001
    Corruptor._scratch,  # noqa: SLF001
    Corruptor._stain,  # noqa: SLF001
    Corruptor._fill_blob,  # noqa: SLF001
]


def _noise_mask(random: _Random, shape: tuple[int, ...]) -> _Mask:
    """Return Perlin-like islands, (h, w) float32 of 0 and 1: smooth noise of 2^0 to 2^5 cells a side, cut at a level."""
    cells = 2 ** random.integers(0, 6, 2)
    lattice = random.standard_normal((cells[0] + 3, cells[1] + 3)).astype(np.float32)
    # One cell more at each side, so that the islands do not line up with the frame's border.
    noise = cv2.resize(lattice, (shape[1] * 3 // 2, shape[0] * 3 // 2), interpolation=cv2.INTER_CUBIC)
    top, left = random.integers(shape[0] // 2), random.integers(shape[1] // 2)
    noise = noise[top : top + shape[0], left : left + shape[1]]
    level = float(noise.mean() + random.uniform(0.7, 1.8) * noise.std())
    return (noise > level).astype(np.float32)


def _blob(random: _Random, shape: tuple[int, ...], *, largest: float) -> _Mask:
    """Return one filled irregular shape, (h, w) float32 of 0 and 1."""
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


def _even(random: _Random) -> bool:
    return bool(random.integers(2))


def _one_colour(picture: Frame, random: _Random) -> Frame:
    height, width, channels = picture.shape
    colour = random.integers(0, 256, channels)
    if _even(random):
        colour = picture[random.integers(height), random.integers(width)]
    return np.broadcast_to(colour.astype(np.uint8), picture.shape)


def _change(picture: Frame, random: _Random) -> Frame:
    """Return the picture under three random changes of tone, colour or direction."""
    codes = np.arange(256, dtype=np.float32)
    result = picture
    for change in random.choice(len(_TONES) + 2, 3, replace=False):
        if change < len(_TONES):
            codes = np.clip(_TONES[change](codes, random), 0, 255).astype(np.float32)
        elif change == len(_TONES):
            result = result[:, :, random.permutation(result.shape[2])]
        else:
            result = result[:: random.choice([-1, 1]), :: random.choice([-1, 1])]
    return codes.astype(np.uint8)[result]


def _posterize(codes: _Mask, random: _Random) -> _Mask:
    step = np.float32(2 ** random.integers(4, 7))
    return codes // step * step


_TONES: list[Callable[[_Mask, _Random], _Mask]] = [
    lambda codes, random: np.power(codes / 255, np.float32(random.uniform(0.4, 2.5))) * 255,
    lambda codes, random: codes + np.float32(random.uniform(-80, 80)),
    lambda codes, _: 255 - codes,
    lambda codes, random: (codes - 128) * np.float32(random.uniform(0.3, 2.0)) + 128,
    _posterize,
]


def _blend(picture: Frame, other: Frame, mask: _Mask, random: _Random) -> Frame:
    opacity = mask[:, :, np.newaxis] * np.float32(random.uniform(0.2, 1.0))
    mixed = picture + opacity * (other.astype(np.float32) - picture)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
