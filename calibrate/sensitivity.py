"""The sensitivity card: which defects the thresholds catch, by kind, size, contrast and place, from good frames only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibrate.probe_defects import KINDS, Kind, Probe, draw_probe
from calibrate.recipe_engine import RecipeEngine
from edge_agent.decision import NOT_INSPECTED, score, z_map
from edge_agent.inspection import Mask
from edge_agent.thresholds import ThresholdRevision
from engines.command_line import track
from engines.errors import ThresholdsError
from engines.recipe import THRESHOLDS_FOLDER
from engines.untrusted import parse_json

CARD_FILE = "sensitivity.json"
SIZE_SHARES = (1 / 100, 1 / 50, 1 / 25, 1 / 12)
CONTRASTS = (10, 25, 60)
# Of each kind, size and contrast.
SAMPLES = 12
PLACES = 3
SMALLEST_PX = 2
_NORMAL_95 = 1.959964
_MARGIN = 0.08
_SEED = 5


@dataclass(frozen=True)
class Trial:
    """One defect on one good frame: it is caught with every factor below `score`.

    `place` is its row and column among 3 x 3 fields of the region.
    """

    kind: Kind
    size_px: float
    contrast: int
    place: tuple[int, int]
    score: float


def run_trials(
    engine: RecipeEngine, paths: Sequence[Path], thresholds: ThresholdRevision, *, sizes: Sequence[float] | None = None
) -> list[Trial]:
    """Draw defects on good frames, and say how far each stands out.

    Args:
        engine: The model on the line.
        paths: Good frames that neither the network nor location and scale have seen.
        thresholds: Location, scale and smallest area; the factor does not count.
        sizes: In camera pixels; None takes those of the card.
    """
    random = np.random.default_rng(_SEED)
    wanted = [*product(KINDS, sizes or sizes_px(engine), CONTRASTS, range(SAMPLES))]
    order = random.permutation(len(wanted))
    trials = []
    for number, index in enumerate(track(order, label="sensitivity card", total=len(wanted))):
        kind, size_px, contrast, _ = wanted[index]
        loaded = engine.load(paths[number % len(paths)])
        revision = engine.thresholds_for(loaded, thresholds)
        place, middle = _place(engine, revision, random)
        probe = Probe(kind, size_px, contrast, middle, float(random.uniform(0, np.pi)))
        shown, covered = draw_probe(loaded.pixels, probe)
        z = z_map(engine.maps(shown), revision)
        z[~near(engine, covered)] = NOT_INSPECTED
        trials.append(Trial(kind, size_px, contrast, place, score(z, thresholds.min_area_map_px)))
    return trials


def sizes_px(engine: RecipeEngine) -> list[float]:
    """Return the sizes of the card in camera pixels, from 1/100 to 1/12 of the region's shorter side."""
    side = min(engine.recipe.roi_size_wh)
    return sorted({max(SMALLEST_PX, round(share * side)) for share in SIZE_SHARES})


def caught(trials: Sequence[Trial], factor: float) -> tuple[int, int]:
    """Return how many of the trials are caught with a factor, and how many there are."""
    return sum(trial.score > factor for trial in trials), len(trials)


def card(trials: Sequence[Trial], factor: float) -> dict[str, Any]:
    """Return the share that is caught with its 95 % interval: by kind, size and contrast, and by place."""

    def of(belongs: Callable[[Trial], bool]) -> dict[str, Any]:
        found, total = caught([trial for trial in trials if belongs(trial)], factor)
        low, high = wilson(found, total)
        return {"caught": found, "of": total, "low": round(low, 4), "high": round(high, 4)}

    sizes = sorted({trial.size_px for trial in trials})
    return {
        "factor": factor,
        "by_defect": [
            {
                "kind": kind,
                "size_px": size,
                "contrast": contrast,
                **of(lambda t, k=kind, s=size, c=contrast: (t.kind, t.size_px, t.contrast) == (k, s, c)),  # type: ignore[misc]
            }
            for kind, size, contrast in product(KINDS, sizes, CONTRASTS)
        ],
        "by_place": [
            {"row": row, "column": column, **of(lambda t, p=(row, column): t.place == p)}  # type: ignore[misc]
            for row, column in product(range(PLACES), repeat=2)
        ],
        "trials": [asdict(trial) for trial in trials],
    }


def read_card(recipe_folder: Path, revision: str) -> dict[str, Any]:
    """Read the card of a threshold revision.

    Raises:
        ThresholdsError: It has none.
    """
    path = recipe_folder / THRESHOLDS_FOLDER / revision / CARD_FILE
    try:
        content: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ThresholdsError(
            f"threshold revision {revision} has no sensitivity card: {problem}.",
            fix="Fit again with `edge-calibrate fit`.",
        ) from problem
    return content


def wilson(found: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, J. Am. Stat. Assoc. 22, 1927); (0, 1) where nothing was tried."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = found / total, _NORMAL_95**2
    middle = share + z2 / (2 * total)
    reach = _NORMAL_95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, (middle - reach) / (1 + z2 / total)), min(1.0, (middle + reach) / (1 + z2 / total))


def card_lines(content: dict[str, Any]) -> Iterator[str]:
    """Say the card in a table of plain text: rows are kinds and sizes, columns contrasts."""
    yield "Sensitivity card: share of drawn defects that would be rejected, with its 95 % interval"
    yield f"{'':22}" + "".join(f"{f'contrast {contrast}':>22}" for contrast in CONTRASTS)
    cells = {(c["kind"], c["size_px"], c["contrast"]): c for c in content["by_defect"]}
    sizes = sorted({size for _, size, _ in cells})
    for kind, size in product(KINDS, sizes):
        shares = (cells[kind, size, contrast] for contrast in CONTRASTS)
        yield f"{f'{kind}, {size:g} px':22}" + "".join(f"{_share(cell):>22}" for cell in shares)


def _share(cell: dict[str, Any]) -> str:
    if not cell["of"]:
        return "-"
    return f"{cell['caught'] / cell['of']:.0%} ({cell['low']:.0%} to {cell['high']:.0%})"


def _place(
    engine: RecipeEngine, thresholds: ThresholdRevision, random: np.random.Generator
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Return a random place that is inspected: its field, and x and y in camera pixels."""
    x, y, width, height = engine.recipe.roi_xywh_px
    map_height, map_width = thresholds.ignored.shape
    inspected = ~thresholds.ignored
    inner = np.zeros_like(inspected)
    top, left = (int(np.ceil(_MARGIN * side)) for side in (map_height, map_width))
    inner[top : map_height - top, left : map_width - left] = True
    places = np.argwhere(inspected & inner if (inspected & inner).any() else inspected)
    row, column = places[random.integers(len(places))].tolist()
    down, across = (row + 0.5) / map_height, (column + 0.5) / map_width
    return (int(down * PLACES), int(across * PLACES)), (x + across * width, y + down * height)


def near(engine: RecipeEngine, covered: Mask) -> Mask:
    """Return the map pixels at and around a defect, (h, w) bool: as far as smoothing spreads its error."""
    x, y, width, height = engine.recipe.roi_xywh_px
    _, map_height, map_width = engine.recipe.maps_shape
    region = covered[y : y + height, x : x + width].astype(np.uint8)
    # Enlarged before it is made small: a scratch of one pixel must not be lost.
    grown = cv2.dilate(region, np.ones((3, 3), np.uint8))
    small = cv2.resize(grown.astype(np.float32), (map_width, map_height), interpolation=cv2.INTER_AREA) > 0
    reach = 2 * engine.recipe.box_map_px + 1
    return cv2.dilate(small.astype(np.uint8), np.ones((reach, reach), np.uint8)).astype(bool)
