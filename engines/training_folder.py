"""Is this a folder of good parts of one kind, as training and fitting want it, or did somebody point at the wrong one?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines.errors import DatasetError
from engines.images import SUFFIXES, list_images
from engines.wording import listed

_JUDGED = ("test", "ground_truth")
# From a data set's root to test/<defect>, and one more for folders within.
_LEVELS = 4


def list_good_images(folder: Path, *, may_be_test_good: bool = False) -> list[Path]:
    """Return the image files of a folder of good parts by name; hidden files are left out.

    Args:
        folder: Good parts of one kind.
        may_be_test_good: Take a data set's `test/good`, too.

    Raises:
        NoInputError: The folder does not exist or holds no image.
        DatasetError: It is no folder of good parts; see `check_training_folder` and `check_no_masks`. Or a file's name
            is no UTF-8, so that no list of the images could hold it.
    """
    check_training_folder(folder, may_be_test_good=may_be_test_good)
    images = list_images(folder)
    _check_can_be_written_down(folder, images)
    check_no_masks(folder, images)
    return images


def check_training_folder(folder: Path, *, may_be_test_good: bool = False) -> None:
    """Refuse a folder that belongs to a data set in MVTec AD layout but is not its good frames.

    Args:
        folder: To be looked at.
        may_be_test_good: Take a data set's `test/good`, too.

    Raises:
        DatasetError: It is the root of a data set or its `train`, or lies in its `test`, its `ground_truth` or beside
            its `train/good`; or images lie only in its sub-folders.
    """
    if not folder.is_dir():
        return
    here = folder.resolve()
    for root in [here, *here.parents][:_LEVELS]:
        parts = here.relative_to(root).parts
        if _is_dataset(root) and not (may_be_test_good and parts[:2] == ("test", "good")):
            _check_place(folder, root, parts)
    subfolders = [] if _holds_images(folder) else folders_with_images(folder)
    if subfolders:
        raise DatasetError(
            f"{folder} holds no image itself, only its folders do: {listed(subfolders)}.",
            fix="Give the folder that holds the good parts; one recipe is for one kind of part.",
        )


def check_no_masks(folder: Path, images: Sequence[Path]) -> None:
    """Refuse masks among the images.

    Raises:
        DatasetError: For an image NAME there is a NAME_mask, too: it shows where NAME is defective. Or all are called so.
    """
    names = {path.stem for path in images}
    called_so = [path for path in images if path.stem.endswith("_mask")]
    beside = [path for path in called_so if path.stem.removesuffix("_mask") in names]
    masks = [path.name for path in (called_so if len(called_so) == len(images) else beside)]
    if masks:
        raise DatasetError(
            f"masks of defects lie among the images of {folder} ({len(masks)}): {listed(masks)}.",
            fix="Give good parts only: move the masks and the images that they belong to away.",
        )


def folders_with_images(folder: Path) -> list[str]:
    """Return the names of the sub-folders that hold images at any depth; hidden ones are left out."""
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and any(map(_is_image, entry.rglob("*")))
    )


def _check_can_be_written_down(folder: Path, images: Sequence[Path]) -> None:
    shown = [path.name.encode("utf-8", errors="backslashreplace").decode() for path in images]
    faults = [text for text, path in zip(shown, images, strict=True) if text != path.name]
    if faults:
        raise DatasetError(
            f"the names of {len(faults)} images in {folder} are not UTF-8: {listed(faults)}.",
            fix="Rename them, best with letters, digits, `-` and `_` only.",
        )


def _check_place(folder: Path, root: Path, parts: tuple[str, ...]) -> None:
    good = root / "train" / "good"
    fix = f"Give {good}." if good.is_dir() else "Give a folder that holds good parts only."
    if parts[:1] in [(name,) for name in _JUDGED]:
        what = "masks" if parts[0] == "ground_truth" else "frames by which recipes are judged, defective ones too"
        raise DatasetError(f"{folder} belongs to the {parts[0]} folder of a data set: {what}.", fix=fix)
    if parts[:1] == ("train",) and parts[1:2] not in {(), ("good",)} and good.is_dir():
        raise DatasetError(f"{folder} belongs to the train folder of a data set, but not to its good frames.", fix=fix)
    if parts in {(), ("train",)} and not _holds_images(folder):
        raise DatasetError(f"{folder} is a data set and not the folder of its good parts.", fix=fix)


def _is_dataset(root: Path) -> bool:
    has_train, has_test, has_masks = ((root / name).is_dir() for name in ("train", *_JUDGED))
    return (has_test and (has_masks or has_train)) or (has_train and has_masks) or (root / "test" / "good").is_dir()


def _holds_images(folder: Path) -> bool:
    return any(map(_is_image, folder.iterdir()))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
