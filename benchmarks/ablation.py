"""What each ingredient is worth: short trainings that lack or change one thing each, beside the usual one.

python benchmarks/ablation.py --data DATA/mvtec_bottle [--size 128] [--steps 1000] [--seed 0] [--only NAMES]

In FP32, thresholds from set-aside good frames; maps and box are chosen on synthetic defects as `edge-engines train`
does, where the variant does not fix them. Resumable row by row; an interrupted training continues.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from generated import number, table
from plans import KEY, Plan, Study
from progress import run_program
from rows import Row, latest
from study import run_study
from study_tables import FIGURES, figures_of, origin_of

_CHANGES = ("image_auroc", "pixel_auroc", "aupro")
_TITLES = ["variant", *FIGURES, "image", "pixel", "AUPRO"]
_OTHERS = "Others"
_EXPLAINED = """Where a variant is trained anew, maps and box are those that `train` would choose for it; the last three
columns are its change against the usual training with the *same* maps and box: what the ingredient alone is worth. A
change that is small beside the interval of the image AUROC says nothing: it is one seed."""


def main() -> int:
    return run_study(Study("ablation", "What each ingredient is worth", plan, None, tables))


def plan() -> Plan:
    # Here, and below: it imports torch, for which the processor is prepared first.
    from ablation_variants import plan

    return plan()


def tables(rows: Sequence[Row]) -> str:
    if not rows:
        return "Nothing has been measured yet."
    from ablation_variants import GROUPS, SAME, USUAL

    shown = latest(rows, KEY)
    usual = next((row for row in shown if (row["lesson"], row["measurement"]) == USUAL), None)
    same = {row["lesson"]: row for row in shown if row["measurement"] == SAME.name}
    groups: dict[str, list[Row]] = {group: [] for group in [*GROUPS.values(), _OTHERS]}
    for row in shown:
        if row["measurement"] != SAME.name:
            groups[GROUPS.get((row["lesson"], row["measurement"]), _OTHERS)].append(row)
    parts = [origin_of(shown), _EXPLAINED]
    for group, members in groups.items():
        ordered = sorted(members, key=lambda row: -(row["image_auroc"] or 0.0))
        lines = [
            [_name(row, USUAL[0]), *figures_of(row), *_changes(same.get(row["lesson"], row), usual)] for row in ordered
        ]
        if lines:
            parts.append(f"### {group}\n\n{table(_TITLES, lines)}")
    return "\n\n".join(parts)


def _name(row: Row, usual: str) -> str:
    return str(row["measurement"] if row["lesson"] == usual else row["lesson"])


def _changes(row: Row, usual: Row | None) -> list[str]:
    if usual is None or row is usual:
        return [number(None)] * len(_CHANGES)
    pairs = ((row[name], usual[name]) for name in _CHANGES)
    return [number(None) if None in pair else f"{pair[0] - pair[1]:+.4f}" for pair in pairs]


if __name__ == "__main__":
    sys.exit(run_program(main))
