"""What speaks against new thresholds although they keep the wish; a person has to look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from calibrate.recipe_engine import RecipeEngine
from edge_agent.decision import decide
from edge_agent.thresholds import ThresholdRevision
from engines.golden import load_golden


def find_doubts(
    engine: RecipeEngine, revision: ThresholdRevision, scores: Mapping[str, float], sensitivity: float
) -> Iterator[str]:
    """Yield each doubt as a sentence.

    Args:
        engine: The model of the revision.
        revision: The new thresholds.
        scores: Of the frames that gave the factor, by file name.
        sensitivity: By which the factor was divided.
    """
    for name in revision.calibration.suspects:
        if name in scores and scores[name] / sensitivity == revision.factor:
            yield f"The limit is the score of {name}, which stands out: if it shows a defect, defects like it will pass."
    if _rejects_most_that_trained(engine, revision):
        yield (
            "Most good frames of the training would be rejected: light, place or parts are others now, or these frames "
            "show one part many times. The test pieces prove little then."
        )


def _rejects_most_that_trained(engine: RecipeEngine, revision: ThresholdRevision) -> bool:
    good = [golden.frame for golden in load_golden(engine.folder) if golden.kind == "good"]
    roi_size_wh = engine.recipe.roi_size_wh
    rejected = [decide(engine.maps(frame), revision, roi_size_wh=roi_size_wh).verdict == "FAIL" for frame in good]
    return 2 * sum(rejected) > len(good)
