"""What training does to good frames so that the network learns to take it away again.

All of it is made from the good frames themselves and from chance; nothing here is used to choose a setting or to
test a station (`engines.synthetic_defects` is a generator of its own for that).
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from engines.corruptions.kinds import KINDS, Kind
from engines.corruptions.masks import Random
from engines.images import Frame
from engines.tiling import Tiling

CLEAN_SHARE = 0.3
# The network halves a tile four times: with these shifts it learns the part in every phase of its grid.
_TILE_SHIFT_MAP_PX = 8


class Corruptor:
    """Makes training pairs from good frames.

    Args:
        pictures: Good frames at map size, (n, h, w, C') uint8; read only, kept.
        rotates: The part lies at any angle: pairs are turned and shifted at random.
        tiling: Pairs show one of these tiles, a little shifted, and defects are as large as if that were the frame;
            None shows whole frames.
        kinds: What to draw, each by its share of theirs.
        clean_share: How many of the frames stay as they are.
    """

    def __init__(
        self,
        pictures: Frame,
        *,
        rotates: bool,
        tiling: Tiling | None = None,
        kinds: Iterable[Kind] = KINDS.values(),
        clean_share: float = CLEAN_SHARE,
    ) -> None:
        self._pictures = pictures
        self._rotates = rotates
        self._tiling = tiling if tiling is not None and tiling.count > 1 else None
        self._kinds = list(kinds)
        shares = np.array([kind.share for kind in self._kinds])
        self._shares = shares / shares.sum()
        self._clean_share = clean_share

    def varied(self, *, kinds: Iterable[Kind], clean_share: float) -> Corruptor:
        """Return another corruptor of the same frames."""
        return Corruptor(
            self._pictures, rotates=self._rotates, tiling=self._tiling, kinds=kinds, clean_share=clean_share
        )

    def batch(self, seed: tuple[int, ...], count: int) -> tuple[Frame, Frame]:
        """Return corrupted and clean frames, each (count, h, w, C') uint8; three of ten on average are equal.

        Args:
            seed: The same numbers give the same batch.
            count: How many pairs.
        """
        random = np.random.default_rng(seed)
        clean = np.stack([self.pick(random) for _ in range(count)])
        corrupted = clean.copy()
        for index in range(count):
            if random.random() >= self._clean_share:
                corrupted[index] = self.corrupt(clean[index], random)
        return corrupted, clean

    def corrupt(self, picture: Frame, random: Random) -> Frame:
        """Return a copy of a picture, (h, w, C') uint8, with one to three defects in it."""
        result = picture
        for _ in range(int(random.integers(1, 4))):
            kind = self._kinds[random.choice(len(self._kinds), p=self._shares)]
            result = kind.corrupt(result, random, self.pick)
        return result

    def pick(self, random: Random) -> Frame:
        """Return a good frame or a tile of it, (h, w, C') uint8, turned and shifted where the part may be; read only."""
        picture = self._pictures[random.integers(len(self._pictures))]
        height, width, channels = picture.shape
        top, left, tall, wide = (0, 0, height, width) if self._tiling is None else _near_a_tile(self._tiling, random)
        if not self._rotates:
            return np.ascontiguousarray(picture[top : top + tall, left : left + wide])
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), random.uniform(0, 360), 1.0)
        turn[:, 2] += random.uniform(-0.02, 0.02, 2) * (width, height)
        turn[:, 2] -= left, top
        turned = cv2.warpAffine(picture, turn, (wide, tall), borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(turned, np.uint8).reshape(tall, wide, channels)


def _near_a_tile(tiling: Tiling, random: Random) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a place as large as a tile."""
    most = _TILE_SHIFT_MAP_PX
    top, left = (
        int(np.clip(random.choice(cut.starts) + random.integers(-most, most + 1), 0, cut.length - cut.piece))
        for cut in (tiling.rows, tiling.columns)
    )
    return top, left, *tiling.tile_shape
