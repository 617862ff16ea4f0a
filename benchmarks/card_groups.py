"""What the sensitivity card said of defects of a size and contrast, against what became of real ones; no images here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeAlias

from real_defects import RealDefect

from calibrate.sensitivity import wilson

SIGNIFICANT = 0.05
LONG, ROUND = ("scratch",), ("spot", "smudge")
# Beyond the largest size, long, size in px, contrast.
Group: TypeAlias = tuple[bool, bool, float, float]


def compare_groups(content: dict[str, Any], defects: Sequence[RealDefect]) -> list[dict[str, Any]]:
    """Put real defects into the card's groups of size and contrast.

    Long ones are held against drawn scratches, the others against spots and smudges together. A defect belongs to the
    nearest size and the nearest contrast, by their ratio. Those that are further from the largest size than half a step
    are groups of their own, `beyond`, held against the card's largest size.

    Args:
        content: The card.
        defects: The real defects.

    Returns:
        A row for each group that has real defects: what the card counts with its 95 % interval, what is real, whether
        its share lies in the interval, and the probability of so large a difference by chance (Fisher's exact test).
    """
    return [_row(content, *group, members) for group, members in sorted(_members(content, defects).items())]


def _members(content: dict[str, Any], defects: Sequence[RealDefect]) -> dict[Group, list[RealDefect]]:
    sizes = sorted({cell["size_px"] for cell in content["by_defect"]})
    contrasts = sorted({cell["contrast"] for cell in content["by_defect"]})
    members: dict[Group, list[RealDefect]] = defaultdict(list)
    for defect in defects:
        size = _nearest(defect.size_px, sizes)
        beyond = defect.size_px > sizes[-1] * math.sqrt(sizes[-1] / sizes[-2])
        members[beyond, defect.is_long, size, _nearest(defect.contrast, contrasts)].append(defect)
    return members


def _row(
    content: dict[str, Any], beyond: bool, is_long: bool, size: float, contrast: float, members: Sequence[RealDefect]
) -> dict[str, Any]:
    kinds = LONG if is_long else ROUND
    cells = [
        cell
        for cell in content["by_defect"]
        if cell["kind"] in kinds and (cell["size_px"], cell["contrast"]) == (size, contrast)
    ]
    drawn, drawn_caught = sum(cell["of"] for cell in cells), sum(cell["caught"] for cell in cells)
    caught = sum(defect.caught for defect in members)
    low, high = (round(bound, 4) for bound in wilson(drawn_caught, drawn))
    return {
        "kinds": list(kinds),
        "size_px": size,
        "contrast": contrast,
        "beyond": beyond,
        "drawn": drawn,
        "drawn_caught": drawn_caught,
        "low": low,
        "high": high,
        "real": len(members),
        "caught": caught,
        "rejected": sum(defect.rejected for defect in members),
        "within": low <= caught / len(members) <= high,
        "chance": fisher(drawn_caught, drawn, caught, len(members)),
    }


def fisher(found_a: int, total_a: int, found_b: int, total_b: int) -> float:
    """Return the two-sided p of Fisher's exact test: do both shares come from one?"""
    found, total = found_a + found_b, total_a + total_b

    def ways(a: int) -> int:
        return math.comb(total_a, a) * math.comb(total_b, found - a)

    seen = ways(found_a)
    every = [ways(a) for a in range(max(0, found - total_b), min(found, total_a) + 1)]
    return sum(way for way in every if way <= seen) / math.comb(total, found)


def _nearest(value: float, steps: Sequence[float]) -> float:
    return min(steps, key=lambda step: abs(math.log(max(value, 1e-6) / step)))
