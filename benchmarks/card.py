"""Does the sensitivity card of `edge-calibrate fit` say how many real defects are caught?

    python benchmarks/card.py --recipe RECIPE --data DATASET

The card is made from good frames that the network never saw, as `edge-calibrate fit` makes it. Then every defect of
`test/` is measured in its true mask, put into the card's group of its size and contrast, and counted as the card counts.
How contrast is measured is checked on drawn defects, whose contrast is known; nothing is chosen by the real ones.
Real defects may be larger than any of the card's, so the same is done once more with a card that has the sizes 2, 4 and
8 times its largest, too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from card_groups import compare_groups
from card_tables import tables
from generated import write_generated
from looks import note_look
from origin import code_commit, load_average, machine, today
from progress import run_program
from real_defects import GoodFrames, RealDefect, measure_defects
from rows import Row, append_row, latest, read_rows

from calibrate.dataset import list_labelled
from calibrate.fit import FitWish, fit
from calibrate.good_frames import assign_uses
from calibrate.probe_defects import KINDS, Probe, draw_probe
from calibrate.recipe_engine import RecipeEngine
from calibrate.sensitivity import CONTRASTS, Trial, card, read_card, run_trials, sizes_px
from edge_agent.thresholds import ThresholdRevision
from engines.errors import UsageError

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
FALSE_REJECT_RATE = 0.05
LARGER = (2, 4, 8)
_KEY = ("dataset", "seed", "minutes")
_CHECKS = 4
_SEED = 11


def main() -> int:
    arguments = parse_arguments()
    row = measure(arguments.recipe, arguments.data, arguments.looks)
    append_row(arguments.rows, row)
    rows = latest(read_rows(arguments.rows), _KEY)
    write_generated(arguments.table, tables(rows), title="Thresholds", part="card")
    print(tables([row]))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, required=True, metavar="RECIPE", help="made from the data's train/good")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("EDGE_DATA"), metavar="DATASET", help="in MVTec AD layout"
    )
    parser.add_argument("--rows", type=Path, default=RESULTS / "card.jsonl", metavar="FILE")
    parser.add_argument("--table", type=Path, default=RESULTS / "thresholds.md", metavar="FILE")
    parser.add_argument("--looks", type=Path, default=RESULTS / "looks.md", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.data is None:
        raise UsageError("what to measure on is missing.", fix="Give --data DATASET, in MVTec AD layout.")
    return arguments


def measure(recipe: Path, data: Path, looks: Path) -> Row:
    """Fit with the card on a copy of the recipe, and measure the real defects."""
    commit, images = code_commit(), data / "train" / "good"
    uses = assign_uses(recipe, images)
    groups = len({frame.group for frame in uses if frame.use == "factor"})
    wish = FitWish(max(FALSE_REJECT_RATE, 1 / (groups + 1)))
    defective = [frame for frame in list_labelled(data) if frame.mask_path is not None]
    with tempfile.TemporaryDirectory(prefix="card-") as scratch:
        copy = shutil.copytree(recipe, Path(scratch) / "recipe")
        with closing(RecipeEngine(copy)) as engine:
            thresholds = fit(engine, images, wish, must_reject_test_pieces=False, with_card=True)
            content = read_card(copy, thresholds.name)
            aside = [frame.path for frame in uses if frame.use == "factor"]
            larger = larger_card(engine, aside, thresholds, content)
            good = GoodFrames(engine, [frame.path for frame in uses if frame.use == "location"])
            check = check_contrast(engine, good, aside)
            defects = measure_defects(engine, thresholds, defective, good)
            training = engine.recipe.training
    command = f"python benchmarks/card.py --recipe RECIPE --data DATA/{data.name}"
    note_look(looks, day=today(), commit=commit, dataset=data.name, command=command, image_auroc=None)
    return {
        "dataset": data.name,
        "seed": training.seed,
        "minutes": training.minutes,
        "command": command,
        "commit": commit,
        "date": today(),
        "machine": machine(),
        "load": load_average(),
        "promised": thresholds.calibration.promise.expected_rate,
        "contrast_check": check,
        "defects": len(defects),
        "size_px": [min(sizes_px(engine)), max(sizes_px(engine))],
        "real_size_px": np.quantile([d.size_px for d in defects], [0, 0.5, 1]).tolist(),
        "real_contrast": np.quantile([d.contrast for d in defects], [0, 0.5, 1]).tolist(),
        "by_label": by_label(defects),
        "groups": compare_groups(content, defects),
        "groups_larger": compare_groups(larger, defects),
    }


def larger_card(
    engine: RecipeEngine, aside: Sequence[Path], thresholds: ThresholdRevision, content: dict[str, Any]
) -> dict[str, Any]:
    """Return the card with larger defects, too."""
    largest = max(sizes_px(engine))
    more = run_trials(engine, aside, thresholds, sizes=[times * largest for times in LARGER])
    return card([*(Trial(**trial) for trial in content["trials"]), *more], thresholds.factor)


def check_contrast(engine: RecipeEngine, good: GoodFrames, aside: Sequence[Path]) -> dict[str, float]:
    """Return the median contrast that is measured of drawn defects, by the one that they were drawn with."""
    random = np.random.default_rng(_SEED)
    found: dict[str, list[float]] = defaultdict(list)
    for kind, size, contrast, _ in product(KINDS, sizes_px(engine), CONTRASTS, range(_CHECKS)):
        frame = engine.load(aside[random.integers(len(aside))]).pixels
        height, width = frame.shape[:2]
        middle = (float(random.uniform(0.1, 0.9)) * width, float(random.uniform(0.1, 0.9)) * height)
        shown, covered = draw_probe(frame, Probe(kind, size, contrast, middle, float(random.uniform(0, np.pi))))
        found[str(contrast)].append(good.contrast(shown, covered, covered))
    return {contrast: median(values) for contrast, values in found.items()}


def by_label(defects: Sequence[RealDefect]) -> dict[str, dict[str, float]]:
    """Return count, caught, frames rejected, and median size and contrast of each type of defect."""
    members: dict[str, list[RealDefect]] = defaultdict(list)
    for defect in defects:
        members[defect.label].append(defect)
    return {
        label: {
            "real": len(group),
            "caught": sum(defect.caught for defect in group),
            "rejected": sum(defect.rejected for defect in group),
            "size_px": median(defect.size_px for defect in group),
            "contrast": median(defect.contrast for defect in group),
        }
        for label, group in sorted(members.items())
    }


if __name__ == "__main__":
    sys.exit(run_program(main))
