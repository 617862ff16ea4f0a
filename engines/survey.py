"""Reads a folder of good images once: names what cannot be used, and divides the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.command_line import track
from engines.dataset import ONE_COLOUR_FIX, GoodImages, Resize, Shape
from engines.errors import DatasetError, FrameError
from engines.images import CHANNELS, describe_size, pixel_sha256, read_image
from engines.parallel import map_ahead
from engines.sample_split import Sample, read_groups, split
from engines.training_folder import folders_with_images, list_good_images
from engines.wording import list_lines, listed

FEWEST_IMAGES = 10
MOST_UNUSABLE = 0.01
LARGEST_SIDE_PX = 16_384
_MOST_LINES, _MOST_DUPLICATES = 20, 10


@dataclass
class _Size:
    example: str
    count: int = 0


def survey(folder: Path, *, resize: Resize) -> GoodImages:
    """Read every image of a folder once, check them together, and divide them.

    No frame is kept: a file costs its name, its hash and its use.

    Raises:
        NoInputError: The folder does not exist or holds no image.
        DatasetError: The folder is no folder of good parts, more than 1 % of the files are unusable, sizes or
            colour and grey are mixed (all are listed), there are too few, or `groups.csv` does not fit the folder or cannot be divided.
    """
    paths = list_good_images(folder)
    groups = read_groups(folder, [path.name for path in paths])
    samples: list[Sample] = []
    sizes: dict[Shape, _Size] = {}
    faults: list[str] = []
    for path, seen in track(
        zip(paths, map_ahead(_inspect, paths), strict=True), label="reading images", total=len(paths)
    ):
        if isinstance(seen, FrameError):
            faults.append(seen.problem)
            continue
        digest, shape = seen
        samples.append(Sample(path=path, sha256=digest, group=groups.get(path.name, digest)))
        sizes.setdefault(shape, _Size(path.name)).count += 1
    check_few_unusable(folder, faults, len(paths))
    _check_enough(folder, samples)
    shape = _common_shape(folder, sizes, resize)
    remarks = _remarks(folder, faults, samples)
    return GoodImages(tuple(samples), split(samples), shape, resize, skipped=len(faults), remarks=tuple(remarks))


def _inspect(path: Path) -> tuple[str, Shape] | FrameError:
    try:
        frame = read_image(path)
    except FrameError as problem:
        return problem
    height, width, channels = frame.shape
    return pixel_sha256(frame), (height, width, channels)


def check_few_unusable(folder: Path, faults: Sequence[str], files: int) -> None:
    """Refuse a folder of which more than 1 % cannot be used: what makes so many files unusable may touch the others.

    Args:
        folder: Where they are.
        faults: What is wrong with each of them.
        files: Number of all files.

    Raises:
        DatasetError: There are more; the first are named.
    """
    if len(faults) > MOST_UNUSABLE * files:
        lines = list_lines(faults, most=_MOST_LINES, what="files")
        raise DatasetError(
            f"{len(faults)} of {files} images in {folder} cannot be used, more than {MOST_UNUSABLE:.0%}:\n{lines}\n",
            fix="Remove these files or record them again, then run the command again.",
        )


def _remarks(folder: Path, faults: Sequence[str], samples: Sequence[Sample]) -> Iterator[str]:
    if faults:
        lines = list_lines(faults, most=_MOST_LINES, what="files")
        yield f"files that cannot be used and are skipped: {len(faults)}\n{lines}"
    first: dict[str, str] = {}
    same = [
        f"{sample.path.name} shows the pixels of {name}"
        for sample in samples
        if (name := first.setdefault(sample.sha256, sample.path.name)) != sample.path.name
    ]
    if same:
        lines = list_lines(same, most=_MOST_DUPLICATES, what="duplicates")
        yield f"files that repeat another, so that each picture is used once: {len(same)}\n{lines}"
    if subfolders := folders_with_images(folder):
        yield f"the images in the folders within {folder} are not used: {listed(subfolders)}"


def _common_shape(folder: Path, sizes: Mapping[Shape, _Size], resize: Resize) -> Shape:
    channels = {shape[2] for shape in sizes}
    if len(sizes) == 1 or (resize != "none" and len(channels) == 1):
        height, width = (_median({shape: size.count for shape, size in sizes.items()}, axis) for axis in (0, 1))
        return _check_not_too_large(folder, (height, width, channels.pop()))
    lines = [
        f"{describe_size(shape)}: {size.count} image{'s' * (size.count > 1)}, such as {size.example}"
        for shape, size in sorted(sizes.items(), key=lambda item: -item[1].count)
    ]
    shown = list_lines(lines, most=_MOST_LINES, what="sizes")
    if len(channels) > 1:
        raise DatasetError(
            f"{folder} mixes {' and '.join(CHANNELS[count] for count in sorted(channels))} images:\n{shown}\n",
            fix=ONE_COLOUR_FIX,
        )
    fix = "Keep one size, or give --resize letterbox (keeps the aspect) or --resize stretch."
    raise DatasetError(f"{folder} mixes {len(sizes)} sizes:\n{shown}\n", fix=fix)


def _median(counts: Mapping[Shape, int], axis: int) -> int:
    return int(np.median(np.repeat([shape[axis] for shape in counts], list(counts.values()))))


def _check_not_too_large(folder: Path, shape: Shape) -> Shape:
    if max(shape[:2]) > LARGEST_SIDE_PX:
        raise DatasetError(
            f"the images in {folder} are {describe_size(shape)}; a frame has at most {LARGEST_SIDE_PX} pixels a side.",
            fix="Record a smaller region.",
        )
    return shape


def _check_enough(folder: Path, samples: Sequence[Sample]) -> None:
    different = len({sample.sha256 for sample in samples})
    if different < FEWEST_IMAGES:
        same = "" if different == len(samples) else f" ({len(samples)} files, but only {different} different pictures)"
        raise DatasetError(
            f"{folder} holds {different} good images{same}; at least {FEWEST_IMAGES} are needed.",
            fix="Record more good parts: 100 and more make a useful recipe.",
        )
