"""Which good parts train the network, which choose its settings, and which are set aside for the promise."""

from __future__ import annotations

import csv
import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engines.errors import DatasetError

GROUPS_FILE = "groups.csv"
TUNING_SHARE = 0.1
FEWEST_ASIDE = 50

Use = Literal["trained", "tuning", "set_aside"]


@dataclass(frozen=True)
class Sample:
    """One good frame on disk: its pixels' hash and the part or block of time that it belongs to."""

    path: Path
    sha256: str
    group: str


def read_groups(folder: Path) -> dict[str, str]:
    """Return the group of each file name from `groups.csv`; empty where there is none.

    Raises:
        DatasetError: The file lacks the columns `file` and `group`, or names a file twice.
    """
    path = folder / GROUPS_FILE
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"file", "group"} <= set(rows.fieldnames or ()):
            raise DatasetError(f"{path} lacks the columns `file` and `group`.", fix="Add the line `file,group` on top.")
        groups: dict[str, str] = {}
        for row in rows:
            if row["file"] in groups:
                raise DatasetError(
                    f"{path}:{rows.line_num}: {row['file']} stands there twice.", fix="Keep one line for each file."
                )
            groups[row["file"]] = row["group"]
    return groups


def set_aside_count(good: int) -> int:
    """Return how many of the good frames are set aside: 25 %, at least 50, or half of fewer than 100."""
    return min(good // 2, max(FEWEST_ASIDE, math.ceil(good / 4)))


def split(samples: Sequence[Sample]) -> dict[str, Use]:
    """Divide good frames by content, whole groups at a time, so that the same frames always fall the same way.

    Frames with equal pixels always share a group: a frame that was trained on must not be set aside as well.
    A tenth of the frames that are not set aside chooses settings (the box) and is neither trained on nor used for
    the factor: a choice made on the set-aside frames would make the promise too good.

    Returns:
        Use by pixel hash.
    """
    groups = _merged_groups(samples)
    order = sorted(groups, key=lambda members: hashlib.sha256("".join(sorted(members)).encode()).digest())
    aside = set_aside_count(sum(len(members) for members in order))
    tuning = max(1, round(TUNING_SHARE * (sum(len(members) for members in order) - aside)))
    uses: dict[str, Use] = {}
    counts = {"set_aside": 0, "tuning": 0}
    for members in order:
        use: Use = "trained"
        if counts["set_aside"] < aside:
            use = "set_aside"
        elif counts["tuning"] < tuning:
            use = "tuning"
        if use != "trained":
            counts[use] += len(members)
        uses.update(dict.fromkeys(members, use))
    return uses


def _merged_groups(samples: Sequence[Sample]) -> list[set[str]]:
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
