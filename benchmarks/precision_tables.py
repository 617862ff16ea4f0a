"""The tables of `docs/results/detection.md` that set the three precisions side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from generated import number, percent, table
from jobs import label_of
from rows import Row

_INT8 = ("tensorrt", "cpu")


def auroc_by_precision(rows: Sequence[Row]) -> str:
    """Return what each precision finds, a line each row."""
    titles = ["data set", "options", "seed", *(f"image AUROC {name}" for name in ("FP32", "TensorRT", "CPU"))]
    titles += [f"pixel AUROC {name}" for name in ("FP32", "TensorRT", "CPU")]
    titles += [f"recall {name}" for name in ("FP32", "TensorRT", "CPU")]
    return table(titles, [_precision_line(row) for row in rows])


def _precision_line(row: Row) -> list[str]:
    figures = [row["precisions"][name] for name in ("fp32", *_INT8)]
    shown = [number(part[name]) for name in ("image_auroc", "pixel_auroc") for part in figures]
    return [*label_of(row), str(row["seed"]), *shown, *(number(part["recall"], 3) for part in figures)]


def against_fp32(rows: Sequence[Row]) -> str:
    """Return how each INT8 placement differs from FP32, two lines each row."""
    titles = ["data set", "options", "seed", "placement", "image AUROC against FP32", "equal verdicts"]
    titles += ["map difference, good", "defective"]
    lines = []
    for row in rows:
        for name in _INT8:
            part = row["against_fp32"][name]
            change = part["image_auroc_difference"]
            lines.append(
                [
                    *label_of(row),
                    str(row["seed"]),
                    name,
                    "-" if change is None else f"{change:+.4f}",
                    _equal(part["equal_verdicts"], part["frames"]),
                    percent(part["map_difference_good"], 2),
                    percent(part["map_difference_defective"], 2),
                ]
            )
    return table(titles, lines)


def _equal(equal: int, frames: int) -> str:
    return f"{equal} of {frames} ({percent(equal / frames, 2)})"


def pooled(rows: Sequence[Row]) -> str:
    """Return the share of equal verdicts over the test frames of many rows, and the worst change of AUROC."""
    lines = []
    for name in _INT8:
        counts: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            counts["all rows"].append(row["against_fp32"][name])
            if not row["options"].get("objective"):
                counts["rows of the default objective"].append(row["against_fp32"][name])
        for which, parts in counts.items():
            equal, frames = (sum(part[key] for part in parts) for key in ("equal_verdicts", "frames"))
            worst = min(
                (p["image_auroc_difference"] for p in parts if p["image_auroc_difference"] is not None), default=None
            )
            lines.append([name, which, _equal(equal, frames), "-" if worst is None else f"{worst:+.4f}"])
    titles = ["placement", "pooled over", "equal verdicts", "worst change of image AUROC"]
    return table(titles, lines)
