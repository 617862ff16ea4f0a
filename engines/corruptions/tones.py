"""What is put into a changed place: other tones, other colours, one colour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from engines.images import Frame

_Random = np.random.Generator
_Codes = npt.NDArray[np.float32]


def change(picture: Frame, random: _Random) -> Frame:
    """Return the picture, (h, w, C') uint8, under three random changes of tone, colour or direction."""
    codes = np.arange(256, dtype=np.float32)
    result = picture
    for chosen in random.choice(len(_TONES) + 2, 3, replace=False):
        if chosen < len(_TONES):
            codes = np.clip(_TONES[chosen](codes, random), 0, 255).astype(np.float32)
        elif chosen == len(_TONES):
            result = result[:, :, random.permutation(result.shape[2])]
        else:
            result = result[:: random.choice([-1, 1]), :: random.choice([-1, 1])]
    return codes.astype(np.uint8)[result]


def one_colour(picture: Frame, random: _Random) -> Frame:
    """Return one colour, any or one of the picture's own, in the picture's shape; read only."""
    height, width, channels = picture.shape
    colour = random.integers(0, 256, channels)
    if random.integers(2):
        colour = picture[random.integers(height), random.integers(width)]
    return np.broadcast_to(colour.astype(np.uint8), picture.shape)


def _posterize(codes: _Codes, random: _Random) -> _Codes:
    step = np.float32(2 ** random.integers(4, 7))
    return codes // step * step


_TONES: list[Callable[[_Codes, _Random], _Codes]] = [
    lambda codes, random: np.power(codes / 255, np.float32(random.uniform(0.4, 2.5))) * 255,
    lambda codes, random: codes + np.float32(random.uniform(-80, 80)),
    lambda codes, _: 255 - codes,
    lambda codes, random: (codes - 128) * np.float32(random.uniform(0.3, 2.0)) + 128,
    _posterize,
]
