"""The good images of one part: divided, and read in one size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from engines.errors import DatasetError
from engines.images import Frame, describe_size, read_image
from engines.sample_split import Sample, Use

Resize = Literal["none", "letterbox", "stretch"]
Shape = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]
ONE_COLOUR_FIX = (
    "Convert them to one kind, as the station's camera will deliver it, or train a recipe on each kind alone; --resize "
    "changes sizes only."
)


@dataclass(frozen=True)
class GoodImages:
    """Good frames on disk, by name, and what each is used for.

    Attributes:
        samples: Every usable image of the folder.
        uses: Use by pixel hash.
        frame_shape: (H, W, C) of the frames that `read` returns.
        resize: How frames of another size are mapped to `frame_shape`.
        skipped: Number of files that are no usable image.
        remarks: What a person should know about the folder, each a line or a list.
    """

    samples: tuple[Sample, ...]
    uses: dict[str, Use]
    frame_shape: Shape
    resize: Resize
    skipped: int = 0
    remarks: tuple[str, ...] = ()

    def of(self, use: Use) -> list[Sample]:
        """Return the samples of one use, each picture once."""
        return list({s.sha256: s for s in self.samples if self.uses[s.sha256] == use}.values())

    def read(self, sample: Sample) -> Frame:
        """Decode one frame and bring it to `frame_shape`."""
        return self.read_with_rectangle(sample)[0]

    def read_with_rectangle(self, sample: Sample) -> tuple[Frame, Rectangle]:
        """Decode one frame, and say where in it the part is shown; see `fit_frame`."""
        return read_fitted(sample.path, self.frame_shape, self.resize)


def read_fitted(path: Path, shape: Shape, mode: Resize) -> tuple[Frame, Rectangle]:
    """Decode an image file and bring it to the recipe's frame size; see `fit_frame`.

    Raises:
        FrameError: The file cannot be used.
        DatasetError: It does not fit; both name the file.
    """
    return fit_named(path, read_image(path), shape, mode)


def fit_named(path: Path, frame: Frame, shape: Shape, mode: Resize) -> tuple[Frame, Rectangle]:
    """Do as `fit_frame` does; the DatasetError names the file that the frame is of."""
    try:
        return fit_frame(frame, shape, mode)
    except DatasetError as problem:
        raise DatasetError(f"{path}: {problem.problem}", fix=problem.fix) from problem


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


def _check_can_fit(frame: Frame, shape: Shape, mode: Resize) -> None:
    seen, wanted = describe_size(frame.shape), describe_size(shape)
    fix = "Use frames of one size, or train with --resize letterbox or --resize stretch."
    if frame.shape[2] != shape[2]:
        fix = "Record it with the camera and format of the recipe."
    elif mode != "none":
        return
    raise DatasetError(f"a frame is {seen} but the recipe takes {wanted}.", fix=fix)
