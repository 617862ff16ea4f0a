"""The kinds of corruption: each takes a good frame and returns a copy with one defect in it.

A kind is a function of the frame, (h, w, C') uint8 and read only, a source of chance, and `pick`, which gives another
good frame of the same shape. A new one is one function and one line of `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engines.corruptions.bold import islands, patch, scratch, spot, stain
from engines.corruptions.faint import cloud, crack, graft, pits, soften
from engines.corruptions.masks import Random
from engines.corruptions.pick import Pick
from engines.images import Frame

Corruption = Callable[[Frame, Random, Pick], Frame]


@dataclass(frozen=True)
class Kind:
    """One kind of corruption, and how many of the defects in training are of it."""

    corrupt: Corruption
    share: float


KINDS: dict[str, Kind] = {
    "islands": Kind(islands, 0.13),
    "patch": Kind(patch, 0.10),
    "scratch": Kind(scratch, 0.04),
    "stain": Kind(stain, 0.05),
    "spot": Kind(spot, 0.08),
    "crack": Kind(crack, 0.18),
    "pits": Kind(pits, 0.17),
    "cloud": Kind(cloud, 0.10),
    "graft": Kind(graft, 0.10),
    "soften": Kind(soften, 0.05),
}
