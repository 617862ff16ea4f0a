"""Frames that were rejected: what other limits would have said of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calibrate.recipe_engine import RecipeEngine
from edge_agent.decision import score, z_map
from edge_agent.thresholds import ThresholdRevision
from engines.command_line import track
from engines.errors import NoInputError
from engines.images import list_images

_MOST = 200
# An archive's folders of other verdicts; see `edge_agent.archive`.
_OTHERS = frozenset({"PASS", "INVALID"})


def rejected_below(folder: Path) -> list[Path]:
    """Return the newest 200 rejected frames below a folder: an archive, one of its days, or any folder of frames."""
    try:
        paths = list_images(folder, recursive=True)
    except NoInputError:
        return []
    return [path for path in paths if path.parent.name not in _OTHERS][-_MOST:]


def score_frames(engine: RecipeEngine, revision: ThresholdRevision, paths: Sequence[Path]) -> list[float]:
    """Return each frame's score with these thresholds.

    Raises:
        DatasetError: A frame cannot be read, or has another size than the recipe's.
    """
    scores = []
    for path in track(paths, label="archived rejects"):
        loaded = engine.load(path)
        z = z_map(engine.maps(loaded.pixels), engine.thresholds_for(loaded, revision))
        scores.append(score(z, revision.min_area_map_px))
    return scores
