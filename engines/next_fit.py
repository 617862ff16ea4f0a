"""What the good parts that training set aside can promise, and how many more it takes where that is nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engines.dataset import GoodImages
from engines.sample_split import merge_groups

# Of fewer frames the scale is noise.
FEWEST_USUAL = 10
FEWEST_TO_HALVE = 4
_USUAL_WISH = 0.05


@dataclass(frozen=True)
class NextFit:
    """The first fit of a recipe on the folder that trained it.

    Attributes:
        parts_missing: Good parts, or blocks, that must be recorded first.
        frames_of_a_part: How many frames of each, at least.
        false_reject_rate: The wish: 5 %, or the least that can be promised then, rounded up.
    """

    parts_missing: int
    frames_of_a_part: int
    false_reject_rate: float


def plan_next_fit(images: GoodImages) -> NextFit:
    """Say what a fit on the same folder will need.

    The frames that taught the network say what is usual; where they are too few, half of the new parts must.
    """
    groups = set_aside_groups(images)
    views = min(map(len, groups))
    taught = sum(use != "set_aside" for use in images.uses.values())
    if taught >= FEWEST_USUAL:
        return NextFit(0, views, _least_wish(len(groups)))
    parts = max(len(groups), parts_to_halve(views))
    return NextFit(parts - len(groups), views, _least_wish(parts - parts // 2))


def set_aside_groups(images: GoodImages) -> list[set[str]]:
    """Return the parts or blocks that were set aside, as sets of pixel hashes."""
    return merge_groups([sample for sample in images.samples if images.uses[sample.sha256] == "set_aside"])


def parts_to_halve(views: int) -> int:
    """Return how many parts of so many frames each it takes so that half of them can say what is usual."""
    return max(FEWEST_TO_HALVE, 2 * math.ceil(FEWEST_USUAL / views))


def _least_wish(parts: int) -> float:
    return max(_USUAL_WISH, math.ceil(1000 / (parts + 1)) / 1000)
