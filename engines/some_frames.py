"""A few frames of a folder at the size at which the network learns, to look at: the rest is not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engines.dataset import ONE_COLOUR_FIX, Resize, fit_frame
from engines.errors import DatasetError, FrameError
from engines.frame_cache import to_uint8
from engines.images import Frame, describe_size, read_image
from engines.reduction import plan_geometry, reduce_frame
from engines.training_folder import list_good_images
from engines.wording import listed


def read_some(folder: Path, size: int | tuple[int, int], *, resize: Resize, seed: int, most: int) -> Frame:
    """Return frames chosen by chance, (n, h, w, C') uint8; files that cannot be used are passed over.

    Args:
        folder: Good images of one part.
        size: (h, w) of the frames, or one number; see `engines.reduction.map_shape_for`.
        resize: How frames of other sizes are brought to the median of those that were chosen.
        seed: The same number chooses the same files.
        most: Number of frames to choose, fewer where the folder has fewer.

    Raises:
        NoInputError: The folder does not exist or holds no image.
        DatasetError: It is no folder of good parts, nothing in it can be used, sizes are mixed without `resize`, or
            numbers of channels are.
        UsageError: The size is not possible.
    """
    paths = list_good_images(folder)
    chosen = np.random.default_rng(seed).permutation(len(paths))
    frames: list[Frame] = []
    for index in chosen[: 2 * most]:
        try:
            frames.append(read_image(paths[index]))
        except FrameError:
            continue
        if len(frames) == most:
            break
    if not frames:
        raise DatasetError(f"no image of {folder} can be used.", fix="Record them again as 8-bit PNG files.")
    shape = frames[0].shape
    _check_can_stack(folder, {frame.shape for frame in frames}, resize)
    if resize != "none":
        height, width = (int(np.median([frame.shape[axis] for frame in frames])) for axis in (0, 1))
        shape = (height, width, shape[2])
    frame_shape = (shape[0], shape[1], shape[2])
    geometry = plan_geometry(frame_shape, None, size)
    return np.stack([to_uint8(reduce_frame(fit_frame(frame, frame_shape, resize)[0], geometry)) for frame in frames])


def _check_can_stack(folder: Path, shapes: set[tuple[int, ...]], resize: Resize) -> None:
    is_mixed = len({shape[2] for shape in shapes}) > 1
    if is_mixed or (resize == "none" and len(shapes) > 1):
        seen = listed(sorted(map(describe_size, shapes)))
        raise DatasetError(
            f"{folder} mixes images of {seen}.",
            fix=ONE_COLOUR_FIX if is_mixed else "Give --resize letterbox or --resize stretch.",
        )
