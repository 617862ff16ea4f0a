"""The good frames of a fit: which of them tell what is usual, and which, never seen before, give the factor."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from engines.command_line import track
from engines.errors import DatasetError, FrameError, UsageError
from engines.files import replace_file
from engines.images import list_images, pixel_sha256, read_image
from engines.parallel import map_ahead
from engines.recipe import IMAGES_FILE
from engines.sample_split import GROUPS_FILE, Sample, merge_groups, read_groups
from engines.survey import check_few_unusable

Use = Literal["location", "factor", "excluded"]
GroupBy = Literal["part", "block", "none"]
# Frames that follow each other closely show the same part or the same light.
BLOCK_FRAMES = 20
_LEAST_SHARE_KNOWN = 0.1


@dataclass(frozen=True)
class FitFrame:
    """One good frame and what it is used for."""

    path: Path
    sha256: str
    group: str
    use: Use


def assign_uses(
    recipe_folder: Path, images: Path, *, exclude: Sequence[str] = (), group_by: GroupBy | None = None
) -> list[FitFrame]:
    """Say what each frame of a folder is used for.

    Frames that trained the network tell what is usual; only those that it never saw give the factor. Where it knows
    none of them, the first half of the groups, in order of their names, tells what is usual.

    Args:
        recipe_folder: It knows which frames trained the network.
        images: Good frames.
        exclude: Names of files that show no good part.
        group_by: What is one group: a part, as `groups.csv` says; a block of 20 frames that follow each other; a frame.
            None takes `groups.csv` where it is there, else each frame.

    Raises:
        DatasetError: The frames cannot be used, or the network saw all of them.
        UsageError: A file to exclude is not there.
    """
    known = known_uses(recipe_folder)
    all_samples, sha_of = _read_samples(images, group_by)
    missing = set(exclude) - set(sha_of)
    if missing:
        raise UsageError(
            f"--exclude: {images} has no {', '.join(sorted(missing))}.", fix="Give names of files in that folder."
        )
    # By its pixels: a copy under another name shows the same part.
    no_good = {sha_of[name] for name in exclude}
    samples = [sample for sample in all_samples if sample.sha256 not in no_good]
    seen = [s for s in samples if known.get(s.sha256) in ("trained", "tuning")]
    unseen = [s for s in samples if known.get(s.sha256) not in ("trained", "tuning")]
    if not unseen:
        raise DatasetError(
            f"every image of {images} trained the network: on them it is too good, and any promise would be false.",
            fix="Give the whole folder that `edge-engines train` got (it set some aside), or newly recorded good parts.",
        )
    seen_groups = {s.group for s in seen}
    fresh = [s for s in unseen if s.group not in seen_groups]
    if not fresh:
        raise DatasetError(
            f"every group of {images} holds a frame that trained the network.",
            fix="Give --group-by none if each frame shows another part, or newly recorded good parts.",
        )
    if len(unseen) > len(fresh):
        print(f"{len(unseen) - len(fresh)} frames belong to groups that trained the network: left out", file=sys.stderr)
    # A few known frames among new ones do not say what is usual now.
    if len(seen) < _LEAST_SHARE_KNOWN * len(samples):
        seen, fresh = _halves(fresh, images)
    frames = [FitFrame(s.path, s.sha256, s.group, "location") for s in seen]
    frames += [FitFrame(s.path, s.sha256, s.group, "factor") for s in fresh]
    return frames + [FitFrame(s.path, s.sha256, s.group, "excluded") for s in all_samples if s.sha256 in no_good]


def _read_samples(images: Path, group_by: GroupBy | None) -> tuple[list[Sample], dict[str, str]]:
    """Read every picture once, and return the different ones, and the hash of every file by its name.

    Groups that share a picture are one group, named after the first of them. Files that cannot be read are named and
    skipped, as in training; more than 1 % of them are refused.
    """
    paths = list_images(images)
    groups = _groups_of(images, paths, group_by)
    samples: list[Sample] = []
    faults: list[str] = []
    read = track(map_ahead(_hash_of, paths), label="reading", total=len(paths))
    for path, found in zip(paths, read, strict=True):
        if isinstance(found, FrameError):
            faults.append(found.problem)
        else:
            samples.append(Sample(path, found, groups.get(path.name, found)))
    check_few_unusable(images, faults, len(paths))
    for fault in faults:
        print(f"skipped: {fault}", file=sys.stderr)
    merged = {digest: members for members in merge_groups(samples) for digest in members}
    names: dict[int, str] = {}
    different: dict[str, Sample] = {}
    for sample in samples:
        name = names.setdefault(id(merged[sample.sha256]), sample.group)
        first = different.setdefault(sample.sha256, replace(sample, group=name))
        if first.path != sample.path:
            print(f"counted once: {sample.path.name} has the pixels of {first.path.name}", file=sys.stderr)
    return list(different.values()), {sample.path.name: sample.sha256 for sample in samples}


def _hash_of(path: Path) -> str | FrameError:
    try:
        return pixel_sha256(read_image(path))
    except FrameError as problem:
        return problem


def _groups_of(images: Path, paths: Sequence[Path], group_by: GroupBy | None) -> dict[str, str]:
    if group_by == "none":
        return {}
    if group_by == "block":
        return blocks([path.name for path in paths])
    groups = read_groups(images, [path.name for path in paths])
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


def _halves(samples: Sequence[Sample], images: Path) -> tuple[list[Sample], list[Sample]]:
    """Divide new frames: the first half of the groups, in order, gives location and scale."""
    order = list(dict.fromkeys(s.group for s in samples))
    if len(order) < 4:
        raise DatasetError(
            f"{images} holds {len(order)} good parts that the recipe does not know.",
            fix="Record more good parts: half of them give location and scale, the other half the factor.",
        )
    first = set(order[: len(order) // 2])
    return [s for s in samples if s.group in first], [s for s in samples if s.group not in first]


def known_uses(recipe_folder: Path) -> dict[str, str]:
    """Return what training did with each image: use by pixel hash, from the recipe's `images.csv`."""
    with (recipe_folder / IMAGES_FILE).open(newline="", encoding="utf-8") as file:
        return {row["sha256"]: row["use"] for row in csv.DictReader(file)}
