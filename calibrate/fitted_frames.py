"""The good frames that a threshold revision rests on: its `images.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from calibrate.good_frames import FitFrame
from engines.recipe import THRESHOLDS_FOLDER

_COLUMNS = ("file", "group", "use", "score", "sha256")


def images_csv(frames: Sequence[FitFrame], scores: Mapping[str, float]) -> str:
    """Return the content of `images.csv`.

    Args:
        frames: All frames of a fit.
        scores: Of those that gave the factor, by pixel hash.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for frame in frames:
        shown = f"{scores[frame.sha256]:.6g}" if frame.sha256 in scores else ""
        table.writerow([frame.path.name, frame.group, frame.use, shown, frame.sha256])
    return text.getvalue()


def read_fitted_frames(recipe_folder: Path, revision: str) -> list[dict[str, str]]:
    """Return the lines of a revision's `images.csv`, by its columns; `score` is empty but for the factor's frames."""
    path = recipe_folder / THRESHOLDS_FOLDER / revision / "images.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
