"""Frames at the size at which the network learns, in a file: memory does not grow with the folder."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.command_line import track
from engines.dataset import GoodImages
from engines.errors import EngineError, StorageError
from engines.images import Frame
from engines.parallel import map_ahead
from engines.reduction import Geometry, reduce_frame
from engines.sample_split import Sample


def cache_samples(images: GoodImages, samples: Sequence[Sample], geometry: Geometry, path: Path) -> Frame:
    """Scale frames to the map's size into a file that the operating system pages in as needed.

    Returns:
        (n, h, w, C') uint8, read only, memory-mapped from `path`, which the caller deletes.

    Raises:
        StorageError: The disk is too small, or fails.
        EngineError: The operating system refuses the map.
    """
    shape = (len(samples), *geometry.map_shape, geometry.channels)

    def scale(sample: Sample) -> Frame:
        return to_uint8(reduce_frame(images.read(sample), geometry))

    try:
        # Written, not mapped: a mapped page that the full disk cannot take ends the process with SIGBUS.
        with path.open("wb") as file:
            _reserve(file.fileno(), math.prod(shape))
            for pixels in track(map_ahead(scale, samples), label="scaling images", total=len(samples)):
                file.write(pixels.data)
    except OSError as problem:
        raise _no_room(path.parent, shape, problem) from problem
    try:
        # Read only: a private map that can be written to counts against memory and swap as a whole (Linux,
        # Documentation/mm/overcommit-accounting).
        return np.memmap(path, np.uint8, mode="r", shape=shape)
    except OSError as problem:
        raise _no_map(shape, problem) from problem


def to_uint8(pixels: npt.NDArray[np.float32]) -> Frame:
    """Round pixels in [0, 255] to uint8, newly allocated."""
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _reserve(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as problem:
        # Not every file system can reserve; then a full disk is seen when it is full.
        if problem.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
            raise


def _no_room(folder: Path, shape: tuple[int, ...], problem: OSError) -> StorageError:
    return StorageError(
        f"{shape[0]} images scaled to {shape[2]} x {shape[1]} need {math.prod(shape) / 1e6:,.1f} MB and cannot be kept "
        f"beside the recipe: {problem.strerror}; {shutil.disk_usage(folder).free / 1e6:,.1f} MB are free there.",
        fix="Free space on that disk, give --recipe a folder on a larger one, or give a smaller --size.",
    )


def _no_map(shape: tuple[int, ...], problem: OSError) -> EngineError:
    return EngineError(
        f"{shape[0]} images scaled to {shape[2]} x {shape[1]} cannot be mapped, {math.prod(shape) / 1e6:,.1f} MB: "
        f"{problem.strerror}.",
        fix="Lift what limits this program's address space (`ulimit -v unlimited`), or give a smaller --size.",
    )
