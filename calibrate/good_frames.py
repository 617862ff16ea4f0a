"""The good frames of a fit: which of them tell what is usual, and which, never seen before, give the factor."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from calibrate.division import GoodFrames, divide
from calibrate.groups import GroupBy, blocks, groups_of, merged_names
from calibrate.known_frames import read_known_frames
from calibrate.unit import GOOD, unit_of
from engines.command_line import track
from engines.errors import DatasetError, FrameError, UsageError
from engines.images import pixel_sha256, read_image
from engines.parallel import map_ahead
from engines.sample_split import Sample
from engines.survey import check_few_unusable
from engines.training_folder import list_good_images

Use = Literal["location", "factor", "excluded"]


@dataclass(frozen=True)
class FitFrame:
    """One good frame and what it is used for."""

    path: Path
    sha256: str
    group: str
    use: Use


def assign_uses(
    recipe_folder: Path,
    images: Path,
    *,
    exclude: Sequence[str] = (),
    group_by: GroupBy | None = None,
    needed: int = 1,
) -> list[FitFrame]:
    """Say what each frame of a folder is used for.

    Frames that trained the network tell what is usual; only those that it never saw give the factor. Of groups that the
    recipe does not know, the first half, in order of their names, tells what is usual, too; see `divide`.

    Args:
        recipe_folder: It knows which frames trained the network.
        images: Good frames.
        exclude: Names of files that show no good part. What else is of their groups leaves with them, but for blocks:
            frames that follow a defective part show others.
        group_by: What is one group: a part, as `groups.csv` says; a block of 20 frames that follow each other; a frame.
            None takes `groups.csv` where it is there, else what training was told of the frames that it got, else
            each frame.
        needed: Groups that must give the factor for the promise that is wished: with fewer after halving, a few known
            frames tell what is usual after all.

    Raises:
        DatasetError: The folder is none of good parts, the frames cannot be used, or the network saw all of them.
        PromiseError: Some groups are new to the recipe, and once half of them say what is usual, fewer than `needed` are
            left; the message says how many more it takes.
        UsageError: A file to exclude is not there.
    """
    known = read_known_frames(recipe_folder)
    paths = list_good_images(images, may_be_test_good=True)
    names = [path.name for path in paths]
    groups = groups_of(images, names, group_by)
    all_samples, sha_of = _read_samples(images, paths, groups, {} if group_by == "none" else known.groups)
    left_out = _left_out(images, all_samples, sha_of, exclude, in_blocks=groups == blocks(names))
    samples = [sample for sample in all_samples if sample.sha256 not in left_out]
    seen = [s for s in samples if known.has_taught(s.sha256)]
    unseen = [s for s in samples if not known.has_taught(s.sha256)]
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
    good = GoodFrames(images, taught=seen, unseen=fresh, named=known.uses.keys(), total=len(samples))
    location, factor = divide(good, needed=needed)
    _say_mixed(good, factor)
    frames = [FitFrame(s.path, s.sha256, s.group, "location") for s in location]
    frames += [FitFrame(s.path, s.sha256, s.group, "factor") for s in factor]
    return frames + [FitFrame(s.path, s.sha256, s.group, "excluded") for s in all_samples if s.sha256 in left_out]


def _say_mixed(good: GoodFrames, factor: Sequence[Sample]) -> None:
    groups = {s.group for s in factor}
    new = len(groups & good.new_groups())
    if 0 < new < len(groups):
        unit = GOOD[unit_of({s.sha256: s.group for s in factor})]
        print(
            f"The limit comes from {len(groups) - new} {unit} that the recipe knows and {new} that it does not, and the "
            "promise is for such a mixture. If all that come will be like the new ones, fit on those alone.",
            file=sys.stderr,
        )


def _read_samples(
    images: Path, paths: Sequence[Path], groups: Mapping[str, str], known_groups: Mapping[str, str]
) -> tuple[list[Sample], dict[str, str]]:
    """Read every picture once, and return the different ones, and the hash of every file by its name.

    A frame's group is what `groups` says of its name, else what `known_groups` says of its hash. Files that cannot be
    read are named and skipped, as in training; more than 1 % of them are refused.
    """
    samples: list[Sample] = []
    faults: list[str] = []
    read = track(map_ahead(_hash_of, paths), label="reading", total=len(paths))
    for path, found in zip(paths, read, strict=True):
        if isinstance(found, FrameError):
            faults.append(found.problem)
        else:
            samples.append(Sample(path, found, groups.get(path.name) or known_groups.get(found, found)))
    check_few_unusable(images, faults, len(paths))
    for fault in faults:
        print(f"skipped: {fault}", file=sys.stderr)
    names = merged_names(samples)
    different: dict[str, Sample] = {}
    for sample in samples:
        first = different.setdefault(sample.sha256, replace(sample, group=names[sample.sha256]))
        if first.path != sample.path:
            print(f"counted once: {sample.path.name} has the pixels of {first.path.name}", file=sys.stderr)
    return list(different.values()), {sample.path.name: sample.sha256 for sample in samples}


def _left_out(
    images: Path, samples: Sequence[Sample], sha_of: Mapping[str, str], exclude: Sequence[str], *, in_blocks: bool
) -> set[str]:
    """Return the hashes of the frames that show no good part, and of all others of these parts."""
    missing = set(exclude) - set(sha_of)
    if missing:
        raise UsageError(
            f"--exclude: {images} has no {', '.join(sorted(missing))}.", fix="Give names of files in that folder."
        )
    # By its pixels: a copy under another name shows the same part.
    no_good = {sha_of[name] for name in exclude}
    groups = set() if in_blocks else {sample.group for sample in samples if sample.sha256 in no_good}
    with_them = no_good | {sample.sha256 for sample in samples if sample.group in groups}
    if len(with_them) == len(samples):
        raise DatasetError(
            f"no part of {images} is left: each has a frame that shows no good part.", fix="Record more good parts."
        )
    if more := len(with_them) - len(no_good):
        print(f"left out, too: {more} other frames of parts of which one frame shows no good part", file=sys.stderr)
    return with_them


def _hash_of(path: Path) -> str | FrameError:
    try:
        return pixel_sha256(read_image(path))
    except FrameError as problem:
        return problem
