"""Frames that were rejected: what other limits would have said of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibrate.recipe_engine import RecipeEngine
from edge_agent.decision import score, z_map
from edge_agent.thresholds import ThresholdRevision
from engines.command_line import track
from engines.errors import DatasetError, NoInputError
from engines.images import list_images
from engines.untrusted import parse_json

_MOST = 200
# An archive's folders of other verdicts; see `edge_agent.archive`.
_OTHERS = frozenset({"PASS", "INVALID"})


def rejected_below(folder: Path) -> list[Path]:
    """Return the rejected frames below a folder, the newest last: an archive, one of its days, or any folder of frames."""
    try:
        paths = list_images(folder, recursive=True)
    except NoInputError:
        return []
    return [p for p in paths if p.parent.name not in _OTHERS and _told(p).get("verdict", "FAIL") == "FAIL"]


def score_frames(engine: RecipeEngine, revision: ThresholdRevision, paths: Sequence[Path]) -> list[float | None]:
    """Return the scores of the newest 200 frames with these thresholds.

    A station's archive holds the frames of every recipe that it ran. None stands for each frame that another recipe
    rejected, and for each of the newest 200 that has another size than the recipe's or cannot be read.
    """
    name = engine.recipe.name
    own = [path for path in paths if _told(path).get("recipe", name) == name]
    scores: list[float | None] = [None] * (len(paths) - len(own))
    for path in track(own[-_MOST:], label="archived rejects"):
        try:
            loaded = engine.load(path)
        except DatasetError:
            scores.append(None)
            continue
        z = z_map(engine.maps(loaded.pixels), engine.thresholds_for(loaded, revision))
        scores.append(score(z, revision.min_area_map_px))
    return scores


def _told(path: Path) -> dict[str, Any]:
    """Return the verdict that an archive keeps beside a frame; empty where there is none."""
    try:
        told = parse_json(path.with_suffix(".json").read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
