"""Which good frames of a fit tell what is usual, and which give the factor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibrate.conformal import more_needed
from calibrate.unit import GOOD, unit_of, way_out
from engines.errors import DatasetError, PromiseError
from engines.next_fit import FEWEST_TO_HALVE, FEWEST_USUAL, parts_to_halve
from engines.sample_split import Sample

# With fewer known frames, or a smaller share of them, new ones say better what is usual.
_ENOUGH_KNOWN = 20
_LEAST_SHARE_KNOWN = 0.1


@dataclass(frozen=True)
class GoodFrames:
    """The good frames of a fit.

    Attributes:
        images: Their folder.
        taught: That the network has seen.
        unseen: That it never saw, of groups of which it saw none.
        named: Hashes of the frames that the recipe names, set-aside ones among them.
        total: Number of frames, those among them that count for nothing.
    """

    images: Path
    taught: Sequence[Sample]
    unseen: Sequence[Sample]
    named: Collection[str]
    total: int

    def new_groups(self) -> set[str]:
        """Return the groups that the network never saw and of which the recipe names no frame."""
        return {s.group for s in self.unseen} - {s.group for s in self.unseen if s.sha256 in self.named}


def divide(good: GoodFrames, *, needed: int) -> tuple[list[Sample], list[Sample]]:
    """Return the frames that give location and scale, and those that give the factor.

    Those that taught the network say what is usual, and of what the recipe does not name, the first half of the groups:
    in another light the factor alone would have to make up for it. Where few have taught it, the first half of the
    set-aside groups does in their place.

    Raises:
        DatasetError: Too few frames say what is usual.
        PromiseError: There are new groups, and fewer than `needed` are left for the factor.
    """
    order, are_new = list(dict.fromkeys(s.group for s in good.unseen)), good.new_groups()
    old, new = [group for group in order if group not in are_new], [group for group in order if group in are_new]
    groups, taught = len(order), list(good.taught)
    from_old = set(old[: len(old) // 2])
    in_place = from_old | set(new[: groups // 2 - len(from_old)])
    half = [s for s in good.unseen if s.group in in_place]
    knows_some = len(taught) >= FEWEST_USUAL
    few = len(taught) < max(_ENOUGH_KNOWN, _LEAST_SHARE_KNOWN * good.total)
    can_halve = groups >= FEWEST_TO_HALVE and (groups - len(in_place) >= needed or not knows_some)
    if few and can_halve and len(half) > len(taught):
        location, usual = half, in_place
    else:
        usual = set(new[: len(new) // 2]) if knows_some else set()
        location = taught + [s for s in good.unseen if s.group in usual]
    if len(location) < FEWEST_USUAL:
        raise _too_few_usual(good, groups)
    if knows_some and new and groups - len(usual) < needed:
        raise _too_few_left(good, groups - len(usual), new=len(new), needed=needed)
    return location, [s for s in good.unseen if s.group not in usual]


def _too_few_usual(good: GoodFrames, groups: int) -> DatasetError:
    parts = parts_to_halve(min(Counter(s.group for s in good.unseen).values()))
    return DatasetError(
        f"{good.images} holds {groups} good parts that the network never saw ({len(good.unseen)} frames), and "
        f"{len(good.taught)} frames that trained it: {FEWEST_USUAL} at least must say what is usual.",
        fix=f"Record {parts - groups} more good parts: half of all give location and scale, the other "
        "half the factor. Or add the frames that trained the network.",
    )


def _too_few_left(good: GoodFrames, left: int, *, new: int, needed: int) -> PromiseError:
    unit = unit_of({s.sha256: s.group for s in good.unseen})
    return PromiseError(
        f"{good.images} holds {new} {GOOD[unit]} that the recipe does not know. Half of them say what is usual, for they "
        f"may show another light; {left} {GOOD[unit]} are left to set the limit, and the wish takes {needed}.",
        fix=f"Add {more_needed(needed, left, halved=new)} more {GOOD[unit]}, or wish for a higher rate.{way_out(unit)}",
    )
