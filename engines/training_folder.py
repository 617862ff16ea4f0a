"""Is this folder what training wants, good parts of one kind, or did somebody point at the wrong one?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines.errors import DatasetError
from engines.images import SUFFIXES
from engines.wording import listed

_JUDGED = ("test", "ground_truth")
# From a data set's root to test/<defect>, and one more for folders within.
_LEVELS = 4


def check_training_folder(folder: Path) -> None:
    """Refuse a folder that belongs to a data set in MVTec AD layout but is not its good training frames.

    Raises:
        DatasetError: It is the root of a data set or its `train`, or lies in its `test` or `ground_truth`; or images
            lie only in its sub-folders.
    """
    if not folder.is_dir():
        return
    here = folder.resolve()
    for root in [here, *here.parents][:_LEVELS]:
        if _is_dataset(root):
            _check_place(folder, root, here.relative_to(root).parts)
    subfolders = [] if _holds_images(folder) else folders_with_images(folder)
    if subfolders:
        raise DatasetError(
            f"{folder} holds no image itself, only its folders do: {listed(subfolders)}.",
            fix="Give the folder that holds the good parts; one recipe is for one kind of part.",
        )


def check_no_masks(folder: Path, images: Sequence[Path]) -> None:
    """Refuse masks among the images.

    Raises:
        DatasetError: For an image NAME there is a NAME_mask, too: it shows where NAME is defective.
    """
    names = {path.stem for path in images}
    masks = [path.name for path in images if path.stem.endswith("_mask") and path.stem.removesuffix("_mask") in names]
    if masks:
        raise DatasetError(
            f"masks of defects lie among the images of {folder} ({len(masks)}): {listed(masks)}.",
            fix="Train on good parts only: move the masks and the images that they belong to away.",
        )


def folders_with_images(folder: Path) -> list[str]:
    """Return the names of the sub-folders that hold images at any depth; hidden ones are left out."""
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and any(map(_is_image, entry.rglob("*")))
    )


def _check_place(folder: Path, root: Path, parts: tuple[str, ...]) -> None:
    good = root / "train" / "good"
    fix = f"Give {good}." if good.is_dir() else "Give a folder that holds good parts only."
    if parts[:1] in [(name,) for name in _JUDGED]:
        what = "masks" if parts[0] == "ground_truth" else "frames by which recipes are judged, defective ones too"
        raise DatasetError(f"{folder} belongs to the {parts[0]} folder of a data set: {what}.", fix=fix)
    if parts in {(), ("train",)} and not _holds_images(folder):
        raise DatasetError(f"{folder} is a data set and not the folder of its good parts.", fix=fix)


def _is_dataset(root: Path) -> bool:
    has_train, has_test, has_masks = ((root / name).is_dir() for name in ("train", *_JUDGED))
    return (has_test and (has_masks or has_train)) or (has_train and has_masks) or (root / "test" / "good").is_dir()


def _holds_images(folder: Path) -> bool:
    return any(map(_is_image, folder.iterdir()))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
