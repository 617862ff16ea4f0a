"""Location and scale of good frames, without those among them that stand out: a defective one must not hide itself."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from calibrate.suspects import FEWEST_SCORES, are_strays, stand_out
from edge_agent.decision import score
from edge_agent.inspection import Mask
from engines.moments import RunningMoments
from engines.runtime import Maps

_BLOCK_BYTES = 64 * 2**20
_FEWEST_IN_BLOCK = 32
# Of n frames none can be further off than (n - 1) / sqrt(n) deviations that hold it itself: of 10, 2.8.
_MANY = 100


@dataclass
class _Waiting:
    key: str
    maps: Maps
    padding: Mask | None


@dataclass
class UsualFrames:
    """Takes frames one by one, in memory that does not grow with them.

    A block of frames is judged together, by what it and the frames before it have shown: with the decision's own score,
    each against location and scale that still hold all others. Those that stand out are left out, unless they are too
    many to be strays; the others count.

    Attributes:
        min_area: Smallest region of a score, in map pixels.
        share: Share of good parts that may be rejected.
        standing_out: Score of each frame that stands out, by its key.
    """

    min_area: int
    share: float
    standing_out: dict[str, float] = field(default_factory=dict)
    _usual: RunningMoments = field(default_factory=RunningMoments)
    _all: RunningMoments = field(default_factory=RunningMoments)
    _count: int = 0
    _block: list[_Waiting] = field(default_factory=list)
    _scores: list[float] = field(default_factory=list)

    def add(self, key: str, maps: Maps, padding: Mask | None = None) -> None:
        """Take one frame into account.

        Args:
            key: What to call it.
            maps: (K, h, w) float32; copied.
            padding: (h, w) bool, True where the frame shows nothing of the part; None if it is all part.
        """
        self._block.append(_Waiting(key, maps.copy(), padding))
        if len(self._block) >= max(_FEWEST_IN_BLOCK, _BLOCK_BYTES // maps.nbytes):
            self._judge_block()

    def location_and_scale(self) -> tuple[Maps, Maps]:
        """Return both as (K, h, w) float32, newly allocated; see `RunningMoments`.

        Raises:
            ValueError: Fewer than two frames were added.
        """
        self._judge_block()
        return (self._usual if self.left_out else self._all).location_and_scale()

    @property
    def left_out(self) -> frozenset[str]:
        """Keys of the frames that have no say."""
        are_few = are_strays(len(self.standing_out), self._count, share=self.share)
        return frozenset(self.standing_out) if are_few else frozenset()

    def _judge_block(self) -> None:
        block, self._block = self._block, []
        trial = copy.deepcopy(self._usual)
        for frame in block:
            trial.add(frame.maps, frame.padding)
            self._all.add(frame.maps, frame.padding)
        self._count += len(block)
        usual = [True] * len(block)
        if block and len(self._scores) + len(block) >= FEWEST_SCORES:
            scores = self._scores_of(block, trial)
            usual = [not far for far in stand_out([*self._scores, *scores])[len(self._scores) :]]
            self._scores += scores
            self.standing_out |= {f.key: s for f, s, kept in zip(block, scores, usual, strict=True) if not kept}
        if all(usual):
            self._usual = trial
            return
        for frame, kept in zip(block, usual, strict=True):
            if kept:
                self._usual.add(frame.maps, frame.padding)

    def _scores_of(self, block: Sequence[_Waiting], trial: RunningMoments) -> list[float]:
        """Score each frame by location and scale of all others; among many it may be among them."""
        if self._count >= _MANY:
            location, scale = trial.location_and_scale()
            return [self._score(frame, location, scale) for frame in block]
        return [self._score(f, *trial.without(f.maps, f.padding).location_and_scale()) for f in block]

    def _score(self, frame: _Waiting, location: Maps, scale: Maps) -> float:
        z = ((frame.maps - location) / scale).sum(axis=0).astype(np.float32)
        if frame.padding is not None:
            z[frame.padding] = 0.0
        return score(z, self.min_area)
