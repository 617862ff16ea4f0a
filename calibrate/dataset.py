"""A labelled folder in MVTec AD layout: test/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.inspection import Mask
from engines.errors import DatasetError, NoInputError
from engines.images import list_images, read_image
from engines.sample_split import read_groups
from engines.wording import listed

GOOD = "good"
_HALF = 127


@dataclass(frozen=True)
class LabelledFrame:
    """One test frame.

    Attributes:
        path: The image.
        label: `good`, or the type of the defect.
        mask_path: None for good frames and where the data set has no masks.
        group: The part or block of time, from the `groups.csv` beside the image; its path where there is none.
    """

    path: Path
    label: str
    mask_path: Path | None
    group: str

    @property
    def is_good(self) -> bool:
        return self.label == GOOD


def list_labelled(root: Path) -> list[LabelledFrame]:
    """Return the test frames of a data set, by label and name; hidden folders are left out.

    Raises:
        NoInputError: There is no test/good or a label's folder is empty.
        DatasetError: Only some defective frames of a label have a mask, one has none while masks lie under a name that
            is no label, or a `groups.csv` does not fit its folder.
    """
    if not (root / "test" / GOOD).is_dir():
        raise NoInputError(
            f"{root} has no test/good.",
            fix="Lay it out as test/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png.",
        )
    frames = []
    labels = _folders(root / "test")
    _check_masks_have_labels(root, labels)
    images = _images_of(root / "test", labels)
    for label, paths in images.items():
        folder, masks = root / "test" / label, root / "ground_truth" / label
        with_masks = label != GOOD and masks.is_dir()
        groups = read_groups(folder, [p.name for p in paths])
        frames += [
            LabelledFrame(
                path=p,
                label=label,
                mask_path=masks / f"{p.stem}_mask.png" if with_masks else None,
                group=groups.get(p.name, str(p)),
            )
            for p in paths
        ]
    _check_no_mask_is_missing(root, frames)
    return frames


def _folders(parent: Path) -> list[str]:
    if not parent.is_dir():
        return []
    return sorted(entry.name for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images_of(test: Path, labels: Sequence[str]) -> dict[str, list[Path]]:
    images = {}
    for label in labels:
        with suppress(NoInputError):
            images[label] = list_images(test / label)
    if empty := [label for label in labels if label not in images]:
        raise NoInputError(
            f"{test} has folders without an image: {listed(empty)}.",
            fix=f"Put images into each, or remove it ({GOOD} is needed).",
        )
    return images


def _check_no_mask_is_missing(root: Path, frames: Sequence[LabelledFrame]) -> None:
    missing = [frame for frame in frames if frame.mask_path is not None and not frame.mask_path.is_file()]
    if missing:
        names = [f"{frame.label}/{frame.path.stem}_mask.png" for frame in missing]
        raise DatasetError(
            f"{root / 'ground_truth'} lacks the mask of {len(missing)} frames: {listed(names, most=10)}.",
            fix="Add them, or remove the folder of a label to judge it without masks.",
        )


def _check_masks_have_labels(root: Path, labels: Sequence[str]) -> None:
    """Refuse masks that a misspelt folder would take out of the pixel figures without a word."""
    masks = _folders(root / "ground_truth")
    foreign = [name for name in masks if name not in labels]
    without = [label for label in labels if label not in masks and label != GOOD]
    if foreign and without:
        raise DatasetError(
            f"{root / 'ground_truth'} has masks of {listed(foreign)} and none of {listed(without)}, as test calls it.",
            fix="Give folders that belong together the same name, or remove the masks that belong to none.",
        )


def load_mask(frame: LabelledFrame, shape: tuple[int, int]) -> Mask:
    """Return the true mask of a frame, (H, W) bool; all False for a good frame, and nowhere else.

    A fourth channel has no say: where a picture is opaque it is white everywhere.

    Raises:
        FrameError: The mask is damaged.
        DatasetError: It has another size than the frame, or marks nothing.
    """
    if frame.mask_path is None:
        return np.zeros(shape, bool)
    mask = read_image(frame.mask_path)
    if mask.shape[:2] != shape:
        raise DatasetError(
            f"{frame.mask_path} is {mask.shape[1]} x {mask.shape[0]}, its frame {shape[1]} x {shape[0]}.",
            fix="Save the mask in the frame's size.",
        )
    white = np.asarray((mask[:, :, :3] > _HALF).any(axis=2))
    if not white.any():
        raise DatasetError(
            f"{frame.mask_path} marks nothing of a defective frame: its largest value is {mask[:, :, :3].max()}.",
            fix=f"Save what is defective as white, 255; where nobody can say what is, remove the masks of {frame.label}.",
        )
    return white
