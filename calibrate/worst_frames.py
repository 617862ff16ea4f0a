"""The frames that an evaluation's page shows: where the verdict was most wrong, and why."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from calibrate.dataset import load_mask
from calibrate.evaluation import Judged
from calibrate.original_pixels import mask_at_original, z_at_original
from calibrate.page import picture_row
from calibrate.pictures import heat, outlined, resized
from calibrate.recipe_engine import RecipeEngine
from edge_agent.decision import decide, z_map
from edge_agent.inspection import REASONS
from edge_agent.thresholds import ThresholdRevision
from engines.images import Frame

PANEL_PX = 300
WORST_SHOWN = 8


def worst_false_passes(judged: Sequence[Judged]) -> list[Judged]:
    """Return defective frames that passed, the least suspicious first."""
    passed = [item for item in judged if not item.frame.is_good and item.verdict == "PASS"]
    return sorted(passed, key=lambda item: item.result.score)[:WORST_SHOWN]


def worst_false_rejects(judged: Sequence[Judged]) -> list[Judged]:
    """Return good frames that were rejected, INVALID ones and then the most suspicious first."""
    rejected = [item for item in judged if item.frame.is_good and item.verdict != "PASS"]
    return sorted(rejected, key=lambda item: -item.result.score)[:WORST_SHOWN]


def frame_section(engine: RecipeEngine, thresholds: ThresholdRevision, item: Judged) -> str:
    """Return one frame with its truth, its map and what was marked, as HTML."""
    if item.score is None:
        words = f"INVALID: {REASONS[item.reason or 'internal_error']}"
    else:
        share = item.score / thresholds.factor
        words = f"score {item.score:.2f}, limit {thresholds.factor:.2f}: {share:.2f} of the limit"
    return (
        f'<section class="wrong"><h3>{escape(item.frame.label)}/{escape(item.frame.path.name)}</h3>'
        f"<p>{escape(words)}</p>{picture_row(_pictures(engine, thresholds, item))}</section>"
    )


def _pictures(engine: RecipeEngine, thresholds: ThresholdRevision, item: Judged) -> list[tuple[str, Frame]]:
    original = engine.read(item.frame.path)
    truth = load_mask(item.frame, item.placement.original_shape)
    pictures = [
        ("frame" if item.frame.is_good else "frame, true defect", outlined(original, np.zeros_like(truth), truth))
    ]
    if item.verdict != "INVALID":
        loaded = engine.load(item.frame.path)
        maps, own = engine.maps(loaded.pixels), engine.thresholds_for(loaded, thresholds)
        defect_mask = decide(maps, own, roi_size_wh=engine.recipe.roi_size_wh).defect_mask
        pictures += [
            ("how unusual", heat(z_at_original(z_map(maps, own), engine.recipe, item.placement), thresholds.factor)),
            (
                "marked" if defect_mask.any() else "marked: nothing",
                outlined(original, mask_at_original(defect_mask, engine.recipe, item.placement)),
            ),
        ]
    return [(words, resized(picture, PANEL_PX)) for words, picture in pictures]
