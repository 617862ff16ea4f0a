"""Objectives x error maps: one short training for each objective, and from each of them every error map.

python benchmarks/objectives.py --data DATA/mvtec_bottle [--size 128] [--steps 1000] [--seed 0] [--only NAMES]

In FP32 (what INT8 changes stands in docs/results/detection.md), thresholds from set-aside good frames, the box of each
set of maps chosen on synthetic defects. Resumable row by row; an interrupted training continues.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from plans import KEY, Lesson, Measurement, Plan, Study
from progress import run_program
from rows import Row, latest
from study import run_study
from study_tables import best_first, matrix, origin_of

from engines.objectives import DEFAULT_OBJECTIVE, objective_named, objective_names

# As `engines.error_maps` calls it, which would import torch.
LEARNED = "learned"
SETS = (("l2",), ("ssim",), ("msgms",), (LEARNED,), ("l2", "msgms"), ("l2", "msgms", LEARNED))
MATRICES = {
    "image_auroc": "Image AUROC",
    "pixel_auroc": "Pixel AUROC",
    "aupro": "AUPRO 0.3",
    "recall": "Recall at the calibrated threshold",
}


def main() -> int:
    return run_study(Study("objectives", "Objectives and error maps", plan, SETS, tables))


def plan() -> Plan:
    names = sorted(objective_names(), key=lambda name: (name != DEFAULT_OBJECTIVE, name))
    return [(Lesson(name, objective=name), measurements_of(name)) for name in names]


def measurements_of(objective: str) -> list[Measurement]:
    teaches_head = objective_named(objective).teaches_head
    return [Measurement("+".join(errors), errors) for errors in SETS if teaches_head or LEARNED not in errors]


def tables(rows: Sequence[Row]) -> str:
    if not rows:
        return "Nothing has been measured yet."
    shown = latest(rows, KEY)
    columns = ["+".join(errors) for errors in SETS]
    parts = [origin_of(shown)]
    for name, title in MATRICES.items():
        parts.append(f"### {title}\n\n{matrix(shown, columns, name)}")
    parts.append(f"### All rows, best first\n\n{best_first(shown)}")
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.exit(run_program(main))
