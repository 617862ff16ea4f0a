"""One recipe on one labelled data set in three precisions, each with thresholds of its own, and INT8 against FP32."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from calibrate.dataset import LabelledFrame
from calibrate.evaluation import Judged, evaluate, revision_in_force
from calibrate.fit import FitWish, check_test_pieces, fit
from calibrate.recipe_engine import RecipeEngine
from edge_agent.revisions import activate
from engines.command_line import track
from engines.errors import ThresholdsError
from engines.golden import map_difference
from engines.recipe import IMAGES_FILE

Precision = Literal["fp32", "tensorrt", "cpu"]
# What runs on the line without a GPU comes first: its figures are the ones that count.
PRECISIONS: tuple[Precision, ...] = ("cpu", "fp32", "tensorrt")
FALSE_REJECT_RATE = 0.05

Figures = dict[str, Any]


def measure(
    recipe: Path, dataset: Path, frames_csv: Path, *, looked: Callable[[Figures], None]
) -> tuple[dict[str, Figures], dict[str, Figures]]:
    """Fit and evaluate all three model files of a recipe.

    Args:
        recipe: Made from the data set's `train/good`.
        dataset: In MVTec AD layout.
        frames_csv: Gets score and verdict of each frame in each precision.
        looked: Is told of the first figures at once: the test set has been looked at, whatever happens next.

    Returns:
        The figures of `edge-calibrate evaluate` by precision; and, of each INT8 placement, how it differs from FP32.
    """
    wish = FitWish(wished_rate(recipe), confident=False, min_area_px=None, note="benchmark")
    figures: dict[str, Figures] = {}
    judged: dict[str, list[Judged]] = {}
    for precision in PRECISIONS:
        print(f"{precision}: thresholds and test frames")
        with engine_of(recipe, precision) as engine:
            figures[precision], judged[precision] = fit_and_evaluate(engine, dataset, wish)
            figures[precision]["test_pieces_rejected"] = rejects_test_pieces(engine)
        if len(figures) == 1:
            looked(figures[precision])
    _write_frames(frames_csv, judged)
    against: dict[str, Figures] = {
        placement: {
            **_verdicts(judged["fp32"], judged[placement]),
            "image_auroc_difference": _difference(figures, placement, "image_auroc"),
            "pixel_auroc_difference": _difference(figures, placement, "pixel_auroc"),
            **_map_differences(recipe, placement, [item.frame for item in judged["fp32"]]),
        }
        for placement in PRECISIONS
        if placement != "fp32"
    }
    return figures, against


@contextmanager
def engine_of(recipe: Path, precision: Precision) -> Iterator[RecipeEngine]:
    """Open a model file of a recipe in ONNX Runtime."""
    with closing(RecipeEngine(recipe, model=precision, runtime="cpu")) as engine:
        yield engine


def fit_and_evaluate(engine: RecipeEngine, dataset: Path, wish: FitWish) -> tuple[Figures, list[Judged]]:
    """Fit thresholds as a technician would, put them in force, and judge the test frames with them.

    A recipe whose test piece would pass is measured all the same.
    """
    revision = fit(engine, dataset / "train" / "good", wish, must_reject_test_pieces=False)
    activate(engine.folder, revision.name)
    figures, judged = evaluate(engine, dataset)
    return {**figures, "false_reject_wish": wish.false_reject_rate}, judged


def rejects_test_pieces(engine: RecipeEngine) -> bool:
    """Say whether every test piece of the recipe is rejected by the thresholds in force."""
    try:
        check_test_pieces(engine, revision_in_force(engine))
    except ThresholdsError:
        return False
    return True


def wished_rate(recipe: Path) -> float:
    """Return 5 %, or the least that the recipe's set-aside parts can promise."""
    with (recipe / IMAGES_FILE).open(newline="", encoding="utf-8") as file:
        aside = {row["group"] for row in csv.DictReader(file) if row["use"] == "set_aside"}
    return max(FALSE_REJECT_RATE, 1 / (len(aside) + 1))


def _verdicts(exact: Sequence[Judged], judged: Sequence[Judged]) -> dict[str, int]:
    same = sum(a.verdict == b.verdict for a, b in zip(exact, judged, strict=True))
    return {"frames": len(exact), "equal_verdicts": same}


def _difference(figures: dict[str, Figures], placement: str, name: str) -> float | None:
    value, exact = figures[placement][name], figures["fp32"][name]
    return None if value is None or exact is None else value - exact


def _map_differences(recipe: Path, placement: Precision, frames: Sequence[LabelledFrame]) -> dict[str, float | None]:
    """Return the mean over the frames of mean|INT8 - FP32| / mean|FP32|, good and defective frames apart."""
    found: dict[bool, list[float]] = {True: [], False: []}
    with engine_of(recipe, "fp32") as exact, engine_of(recipe, placement) as engine:
        for frame in track(frames, label=f"maps of {placement}"):
            pixels = exact.load(frame.path).pixels
            found[frame.is_good].append(map_difference(engine.maps(pixels), exact.maps(pixels)))
    return {
        f"map_difference_{kind}": float(np.mean(found[is_good])) if found[is_good] else None
        for kind, is_good in (("good", True), ("defective", False))
    }


def _write_frames(path: Path, judged: dict[str, list[Judged]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["label", "file", *(f"{name}_{what}" for name in judged for what in ("score", "verdict"))])
        for items in zip(*judged.values(), strict=True):
            frame = items[0].frame
            shown = [part for item in items for part in (item.score, item.verdict)]
            rows.writerow([frame.label, frame.path.name, *shown])
