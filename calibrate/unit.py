"""What a promise counts: parts, blocks of frames that follow each other, or frames; and how that is said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from edge_agent.thresholds import Promise, Unit

# Revisions from before the unit was kept called everything a part.
GOOD: Final[Mapping[Unit | None, str]] = {
    None: "good parts",
    "part": "good parts",
    "block": "blocks of good frames",
    "frame": "good frames",
}
BLOCK_NOTE = "A block is rejected if any of its frames is: of single frames, fewer are."
# As `groups.blocks` names them.
_BLOCK = re.compile(r"block \d+")
_HOW_TO_COUNT: Final[Mapping[Unit, str]] = {
    "part": "say in test/good/groups.csv which frames show the same part",
    "block": "name blocks of frames that follow each other in test/good/groups.csv, `block 0`, `block 1` and so on, as "
    "long as the calibration's",
    "frame": "take test/good/groups.csv away",
}
_GROUP_BY: Final[Mapping[Unit, str]] = {"part": "part", "block": "block", "frame": "none"}


def unit_of(groups: Mapping[str, str]) -> Unit:
    """Return what one group of frames is.

    Args:
        groups: Group by the name that a frame's group has where nobody says what the frame belongs to.
    """
    if all(group == alone for alone, group in groups.items()):
        return "frame"
    return "block" if all(map(_BLOCK.fullmatch, groups.values())) else "part"


def way_out(unit: Unit) -> str:
    """Say what to do where the groups are no parts after all, so that more parts make no more of them; else empty."""
    if unit != "part":
        return ""
    return (
        " If the groups are nests or carriers and not parts, and each frame shows another part, give --group-by none."
    )


def rests_on(promise: Promise) -> str:
    """Say what a promise rests on: 40 good parts (120 frames)."""
    frames = "" if promise.unit == "frame" else f" ({promise.frames} frames)"
    return f"{promise.groups} {GOOD[promise.unit]}{frames}"


def why_incomparable(promised: Unit | None, measured: Unit) -> str:
    """Say why a promise cannot be held against what was measured, and what to do; empty if it can."""
    if promised is None:
        return (
            "These older thresholds do not say whether they count parts, blocks or frames, so whether the promise held "
            "cannot be said: fit again."
        )
    if promised == measured:
        return ""
    return (
        f"The promise counts {GOOD[promised]}, so whether it held cannot be said. To compare, {_HOW_TO_COUNT[promised]}, "
        f"or fit again with --group-by {_GROUP_BY[measured]}."
    )
