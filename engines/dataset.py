"""The good images of one part: checked, divided, and cached at the size at which the network learns."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from engines.command_line import track
from engines.errors import DatasetError, FrameError
from engines.images import Frame, describe_size, list_images, pixel_sha256, read_image
from engines.reduction import Geometry, reduce_frame
from engines.sample_split import Sample, Use, read_groups, split

Resize = Literal["none", "letterbox", "stretch"]
Shape = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]

FEWEST_IMAGES = 10


@dataclass(frozen=True)
class GoodImages:
    """Good frames on disk, by name, and what each is used for.

    Attributes:
        samples: Every image of the folder.
        uses: Use by pixel hash.
        frame_shape: (H, W, C) of the frames that `read` returns.
        resize: How frames of another size are mapped to `frame_shape`.
    """

    samples: tuple[Sample, ...]
    uses: dict[str, Use]
    frame_shape: Shape
    resize: Resize

    def of(self, use: Use) -> list[Sample]:
        """Return the samples of one use, each picture once."""
        return list({s.sha256: s for s in self.samples if self.uses[s.sha256] == use}.values())

    def read(self, sample: Sample) -> Frame:
        """Decode one frame and bring it to `frame_shape`."""
        return self.read_with_rectangle(sample)[0]

    def read_with_rectangle(self, sample: Sample) -> tuple[Frame, Rectangle]:
        """Decode one frame, and say where in it the part is shown; see `fit_frame`."""
        return fit_frame(read_image(sample.path), self.frame_shape, self.resize)


def fit_frame(frame: Frame, shape: Shape, mode: Resize) -> tuple[Frame, Rectangle]:
    """Bring a frame to the recipe's frame size.

    Args:
        frame: (H, W, C) uint8; read only.
        shape: The frame size to reach, (H, W, C).
        mode: `none` takes only frames of that size; `letterbox` keeps the aspect and repeats the edge around the
            picture; `stretch` scales both sides on their own.

    Returns:
        The frame, `shape` uint8, C-contiguous (the same object where nothing changes), and the rectangle x, y,
        width, height that shows the part; what lies outside of it is padding and must never be inspected.

    Raises:
        DatasetError: The size differs and the mode is `none`, or the number of channels differs.
    """
    height, width, _ = shape
    if frame.shape == shape:
        return frame, (0, 0, width, height)
    _check_can_fit(frame, shape, mode)
    ratio = min(height / frame.shape[0], width / frame.shape[1])
    if mode == "stretch":
        inner_height, inner_width = height, width
    else:
        inner_height = min(height, max(1, round(frame.shape[0] * ratio)))
        inner_width = min(width, max(1, round(frame.shape[1] * ratio)))
    shrinks = inner_height * inner_width < frame.shape[0] * frame.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = cv2.resize(frame, (inner_width, inner_height), interpolation=method)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    bottom, right = height - inner_height - top, width - inner_width - left
    padded = cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(padded, np.uint8).reshape(shape), (left, top, inner_width, inner_height)


def survey(folder: Path, *, resize: Resize) -> GoodImages:
    """Read every image of a folder once, check them together, and divide them.

    No frame is kept: memory does not grow with the folder.

    Raises:
        NoInputError: The folder does not exist or holds no image.
        DatasetError: Files are unreadable (all are named), sizes are mixed (all are listed), there are too few,
            or `groups.csv` does not fit the folder or cannot be divided.
    """
    paths = list_images(folder)
    groups = read_groups(folder, [path.name for path in paths])
    samples: list[Sample] = []
    shapes: list[Shape] = []
    faults: list[str] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for path, seen in track(
            zip(paths, pool.map(_inspect, paths), strict=True), label="reading images", total=len(paths)
        ):
            if isinstance(seen, FrameError):
                faults.append(seen.problem)
                continue
            digest, shape = seen
            samples.append(Sample(path=path, sha256=digest, group=groups.get(path.name, digest)))
            shapes.append(shape)
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise DatasetError(
            f"{len(faults)} of {len(paths)} images in {folder} cannot be used:\n{listed}\n",
            fix="Remove these files or record them again, then run the command again.",
        )
    shape = _common_shape(folder, samples, shapes, resize)
    _check_enough(folder, samples)
    return GoodImages(tuple(samples), split(samples), shape, resize)


def cache_samples(images: GoodImages, samples: Sequence[Sample], geometry: Geometry, path: Path) -> Frame:
    """Scale frames to the map's size into a file that the operating system pages in as needed.

    Returns:
        (n, h, w, C') uint8, memory-mapped from `path`; the caller deletes the file.
    """
    shape = (len(samples), *geometry.map_shape, geometry.channels)
    cache = np.memmap(path, np.uint8, mode="w+", shape=shape)

    def fill(index: int) -> None:
        cache[index] = to_uint8(reduce_frame(images.read(samples[index]), geometry))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for _ in track(pool.map(fill, range(len(samples))), label="scaling images", total=len(samples)):
            pass
    return cache


def to_uint8(pixels: npt.NDArray[np.float32]) -> Frame:
    """Round pixels in [0, 255] to uint8, newly allocated."""
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _check_can_fit(frame: Frame, shape: Shape, mode: Resize) -> None:
    seen, wanted = describe_size(frame.shape), describe_size(shape)
    fix = "Use frames of one size, or train with --resize letterbox or --resize stretch."
    if frame.shape[2] != shape[2]:
        fix = "Record it with the camera and format of the recipe."
    elif mode != "none":
        return
    raise DatasetError(f"a frame is {seen} but the recipe takes {wanted}.", fix=fix)


def _inspect(path: Path) -> tuple[str, Shape] | FrameError:
    try:
        frame = read_image(path)
    except FrameError as problem:
        return problem
    height, width, channels = frame.shape
    return pixel_sha256(frame), (height, width, channels)


def _common_shape(folder: Path, samples: Sequence[Sample], shapes: Sequence[Shape], resize: Resize) -> Shape:
    counts = Counter(shapes)
    if len(counts) == 1:
        return shapes[0]
    one_kind = len({shape[2] for shape in counts}) == 1
    if resize != "none" and one_kind:
        height, width = (int(np.median([shape[axis] for shape in shapes])) for axis in (0, 1))
        return height, width, shapes[0][2]
    first = {shape: sample.path.name for shape, sample in zip(reversed(shapes), reversed(samples), strict=True)}
    lines = [
        f"  {describe_size(shape)}: {count} image{'s' * (count > 1)}, such as {first[shape]}"
        for shape, count in counts.most_common(20)
    ]
    if len(counts) > len(lines):
        lines.append(f"  and {len(counts) - len(lines)} more sizes")
    listed = "\n".join(lines)
    fix = "Keep one size, or give --resize letterbox (keeps the aspect) or --resize stretch."
    if not one_kind:
        fix = "Keep images of one number of channels; --resize changes sizes only."
    raise DatasetError(f"{folder} mixes {len(counts)} sizes:\n{listed}\n", fix=fix)


def _check_enough(folder: Path, samples: Sequence[Sample]) -> None:
    different = len({sample.sha256 for sample in samples})
    if different < FEWEST_IMAGES:
        same = "" if different == len(samples) else f" ({len(samples)} files, but only {different} different pictures)"
        raise DatasetError(
            f"{folder} holds {different} good images{same}; at least {FEWEST_IMAGES} are needed.",
            fix="Record more good parts: 100 and more make a useful recipe.",
        )
