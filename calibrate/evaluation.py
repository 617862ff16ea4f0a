"""Judge every frame of a labelled data set with the revision in force."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibrate.dataset import LabelledFrame, list_labelled, load_mask
from calibrate.metrics import ImageResult, PixelMetrics, Values, image_metrics
from calibrate.recipe_engine import LoadedFrame, RecipeEngine
from edge_agent.decision import NOT_INSPECTED, Decision, ZMap, decide, z_map
from edge_agent.thresholds import ThresholdRevision, check_fits_model, load_thresholds
from engines.command_line import track
from engines.recipe import Recipe


@dataclass(frozen=True)
class Judged:
    """One frame of the data set and what the decision said."""

    frame: LabelledFrame
    decision: Decision


def evaluate(engine: RecipeEngine, dataset: Path) -> tuple[dict[str, Any], list[Judged]]:
    """Judge a data set.

    Returns:
        The figures, ready for JSON, and every frame's decision.

    Raises:
        ThresholdsError: No revision is in force, or it belongs to another model.
        DatasetError: A frame or mask cannot be used.
    """
    thresholds = revision_in_force(engine)
    pixels, judged = PixelMetrics(), []
    for frame in track(list_labelled(dataset), label="evaluating"):
        loaded = engine.load(frame.path)
        maps, own = engine.maps(loaded.pixels), engine.thresholds_for(loaded, thresholds)
        judged.append(Judged(frame, decide(maps, own, roi_size_wh=engine.recipe.roi_size_wh)))
        if frame.is_good or frame.mask_path is not None:
            z = to_original_pixels(z_map(maps, own), engine.recipe, loaded)
            pixels.add(z, load_mask(frame, loaded.original_shape))
    results = [ImageResult(j.frame.is_good, j.decision.score, j.decision.verdict) for j in judged]
    promise = thresholds.calibration.promise
    figures: dict[str, Any] = {
        **image_metrics(results),
        **pixels.result(),
        "promised_false_reject_rate": promise.expected_rate,
        "promised_bound_95": promise.bound_95,
        "frames": len(judged),
        "by_label": _by_label(judged),
        "recipe": engine.recipe.name,
        "model_sha256": engine.runtime.model_sha256,
        "threshold_rev": thresholds.name,
    }
    return figures, judged


def revision_in_force(engine: RecipeEngine) -> ThresholdRevision:
    """Return the thresholds in force, checked against the engine's model.

    Raises:
        ThresholdsError: There are none, or they were fitted on another model.
    """
    thresholds = load_thresholds(engine.folder)
    check_fits_model(
        thresholds,
        model=engine.model,
        model_sha256=engine.runtime.model_sha256,
        maps_shape=engine.runtime.maps_shape,
    )
    return thresholds


def to_original_pixels(z: ZMap, recipe: Recipe, loaded: LoadedFrame) -> Values:
    """Return z at the resolution of the image file, (H, W) float32; what is never inspected has the lowest value."""
    lowest = z[z > NOT_INSPECTED].min(initial=np.inf)
    left, top, width, height = recipe.roi_xywh_px
    frame = np.full(recipe.frame_shape[:2], lowest, np.float32)
    frame[top : top + height, left : left + width] = cv2.resize(np.maximum(z, lowest), (width, height))
    left, top, width, height = loaded.valid_xywh_px
    shown = frame[top : top + height, left : left + width]
    rows, columns = loaded.original_shape
    return shown if shown.shape == loaded.original_shape else np.asarray(cv2.resize(shown, (columns, rows)), np.float32)


def _by_label(judged: list[Judged]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for item in judged:
        counts[item.frame.label][item.decision.verdict] += 1
    return {label: {"frames": count.total(), "rejected": count["FAIL"]} for label, count in sorted(counts.items())}
