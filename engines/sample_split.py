"""Which good parts train the network, which choose its settings, and which are set aside for the promise."""

from __future__ import annotations

import csv
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engines.errors import DatasetError
from engines.wording import listed

GROUPS_FILE = "groups.csv"
TUNING_SHARE = 0.1
FEWEST_ASIDE = 50
# With fewer frames the set-aside ones alone are near half of all.
_ENOUGH_FOR_HALF = 125

Use = Literal["trained", "tuning", "set_aside"]


@dataclass(frozen=True)
class Sample:
    """One good frame on disk: its pixels' hash and the part or block of time that it belongs to."""

    path: Path
    sha256: str
    group: str


def read_groups(folder: Path, images: Collection[str]) -> dict[str, str]:
    """Return the group of each file name from `groups.csv`; empty where there is none.

    Args:
        folder: Where `groups.csv` is.
        images: Names of the folder's images; the file must name each of them and nothing else, for an image without
            its group would count as a part of its own and make the promise too good.

    Raises:
        DatasetError: The file is no CSV in UTF-8, lacks the columns `file` and `group`, has an empty one, names a file
            twice or one that is no image of the folder, or leaves an image out.
    """
    path = folder / GROUPS_FILE
    if not path.is_file():
        return {}
    try:
        groups = _parse_groups(path)
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DatasetError(
            f"{path} cannot be read as a table: {problem}.", fix='Save it as "CSV UTF-8", separated by commas.'
        ) from problem
    _check_names(path, named=set(groups), images=set(images))
    return groups


def set_aside_count(good: int) -> int:
    """Return how many of the good frames are set aside: 25 %, at least 50, or half of fewer than 100."""
    return min(good // 2, max(FEWEST_ASIDE, math.ceil(good / 4)))


def split(samples: Sequence[Sample]) -> dict[str, Use]:
    """Divide good frames by content, whole groups at a time, so that the same frames always fall the same way.

    Frames with equal pixels always share a group: a frame that was trained on must not be set aside as well.
    A tenth of the frames that are not set aside chooses settings (the box) and is neither trained on nor used for
    the factor: a choice made on the set-aside frames would make the promise too good.
    A group that would leave too few frames to train on (half; 40 % of fewer than 125) is passed over.

    Returns:
        Use by pixel hash.

    Raises:
        DatasetError: The groups are too large to be divided: less than half of the set-aside frames would be there,
            or none to choose settings.
    """
    groups = merge_groups(samples)
    order = sorted(groups, key=lambda members: hashlib.sha256("".join(sorted(members)).encode()).digest())
    good = sum(len(members) for members in order)
    aside = set_aside_count(good)
    tuning = max(1, round(TUNING_SHARE * (good - aside)))
    # Large groups can use up what tuning needs: then more is kept for it.
    for kept in sorted({tuning, *(len(members) for members in order if len(members) > tuning)}):
        uses = _take(order, {"set_aside": aside, "tuning": tuning}, spare=good - _least_trained(good), kept=kept)
        counts = Counter(uses.values())
        if 2 * counts["set_aside"] >= aside and counts["tuning"]:
            return uses
    raise DatasetError(
        f"{good} different good frames in {len(order)} groups (the largest has {max(map(len, order), default=0)}) "
        f"cannot be divided: whole groups are set aside, and at least {_least_trained(good)} frames must be left to "
        "train on.",
        fix=f"Write smaller blocks into {GROUPS_FILE}, at best of {max(1, good // 20)} frames or fewer, or record more "
        "groups.",
    )


def merge_groups(samples: Sequence[Sample]) -> list[set[str]]:
    """Return the groups as sets of pixel hashes; groups that share a frame with equal pixels are one."""
    by_group: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        by_group[sample.group].add(sample.sha256)
    merged: dict[str, set[str]] = {}
    for members in by_group.values():
        joined = set(members)
        for other in {id(merged[m]): merged[m] for m in members if m in merged}.values():
            joined |= other
        merged.update(dict.fromkeys(joined, joined))
    return list({id(group): group for group in merged.values()}.values())


def _take(order: Sequence[set[str]], wanted: dict[Use, int], *, spare: int, kept: int) -> dict[str, Use]:
    """Give whole groups in order to the uses in order; `spare` frames at most, `kept` of them to the last use."""
    uses: dict[str, Use] = {}
    for use, count in wanted.items():
        most = spare - kept if use == "set_aside" else spare
        taken = 0
        for members in order:
            if taken < count and len(uses) + len(members) <= most and not uses.keys() & members:
                taken += len(members)
                uses.update(dict.fromkeys(members, use))
    return {digest: uses.get(digest, "trained") for members in order for digest in members}


def _least_trained(good: int) -> int:
    return good // 2 if good >= _ENOUGH_FOR_HALF else good * 2 // 5


def _parse_groups(path: Path) -> dict[str, str]:
    # Excel begins its "CSV UTF-8" with a byte order mark.
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"file", "group"} <= set(rows.fieldnames or ()):
            raise DatasetError(
                f"{path} lacks the columns `file` and `group`.",
                fix="Add the line `file,group` on top, and separate them by commas.",
            )
        groups: dict[str, str] = {}
        for row in rows:
            name, group = row["file"], row["group"]
            if not name or not group or not group.strip():
                raise DatasetError(
                    f"{path}:{rows.line_num} names no {'group' if name else 'file'}.",
                    fix="Write a file and its group into each line; one that stands alone gets a group of its own.",
                )
            if name in groups:
                raise DatasetError(
                    f"{path}:{rows.line_num}: {name} stands there twice.", fix="Keep one line for each file."
                )
            groups[name] = group
    return groups


def _check_names(path: Path, *, named: set[str], images: set[str]) -> None:
    if unknown := sorted(map(str, named - images)):
        raise DatasetError(
            f"{path} names {len(unknown)} files that are no images of its folder: {listed(unknown)}.",
            fix="Correct these names, or remove their lines.",
        )
    if missing := sorted(images - named):
        raise DatasetError(
            f"{path} lacks {len(missing)} images of its folder: {listed(missing)}.",
            fix="Add a line with the group of each; one that stands alone gets a group of its own.",
        )
