"""What counts as one good part: what `groups.csv` says, frames that follow each other, or each frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from engines.errors import DatasetError
from engines.files import replace_file
from engines.images import list_images
from engines.sample_split import GROUPS_FILE, Sample, merge_groups, read_groups

GroupBy = Literal["part", "block", "none"]
# Frames that follow each other closely show the same part or the same light.
BLOCK_FRAMES = 20


def groups_of(images: Path, names: Sequence[str], group_by: GroupBy | None) -> dict[str, str]:
    """Return the group of each file name; empty where nobody says it.

    Args:
        images: Where `groups.csv` is, if it is anywhere.
        names: The images of that folder.
        group_by: What is one group; see `assign_uses`.

    Raises:
        DatasetError: `groups.csv` does not fit the folder, or is missing where it is asked for.
    """
    if group_by == "none":
        return {}
    if group_by == "block":
        return blocks(names)
    groups = read_groups(images, names)
    if group_by == "part" and not groups:
        raise DatasetError(
            f"{images} has no {GROUPS_FILE}, so nobody knows which frames show the same part.",
            fix="Write it, with the columns `file,group`, or give --group-by block or none.",
        )
    return groups


def blocks(names: Sequence[str]) -> dict[str, str]:
    """Return the block of 20 frames that each file belongs to, in the order of the numbers in the names.

    What is left over joins the last block: a short one would not be like the others.
    """
    last = max(1, len(names) // BLOCK_FRAMES) - 1
    order = sorted(names, key=lambda name: [(part.isdigit(), part.zfill(20)) for part in re.split(r"(\d+)", name)])
    return {name: f"block {min(index // BLOCK_FRAMES, last)}" for index, name in enumerate(order)}


def write_blocks(images: Path) -> None:
    """Write `groups.csv` for frames that follow each other: whoever uses them later counts blocks, too."""
    lines = [f"{name},{block}" for name, block in blocks([path.name for path in list_images(images)]).items()]
    replace_file(images / GROUPS_FILE, "\n".join(["file,group", *lines, ""]).encode())


def merged_names(samples: Sequence[Sample]) -> dict[str, str]:
    """Return the group of each picture by its hash; groups that share one are one, named after the first of them."""
    merged = {digest: members for members in merge_groups(samples) for digest in members}
    names: dict[int, str] = {}
    return {sample.sha256: names.setdefault(id(merged[sample.sha256]), sample.group) for sample in samples}
