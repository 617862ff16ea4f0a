"""The pixel figures of an evaluation, at the resolution of the masks; memory does not grow with the good pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import groupby

import numpy as np

from calibrate.dataset import GOOD
from calibrate.pixel_ranks import Counts, DefectPixels, GoodCounts, Values, defect_pixels, losses, merge, rounded
from edge_agent.decision import NOT_INSPECTED
from edge_agent.inspection import Mask

Figures = dict[str, float | None]

# They take about 70 bytes each, half a gigabyte in all.
EXACT_VALUES = 8_000_000
AUPRO_LIMITS = {"aupro": 0.3, "aupro_005": 0.05}
_SHARES = ("inspected_share", "defective_inspected_share")
NO_FIGURES: Figures = dict.fromkeys(("pixel_auroc", *AUPRO_LIMITS, "iou", "dice", *_SHARES))
MERGE_AT = 1_000_000


@dataclass(frozen=True)
class PixelFrame:
    """One frame with its truth at the mask's resolution; nothing of it is kept.

    Attributes:
        label: `good`, or the type of the defect.
        z: (H, W) float32; NOT_INSPECTED where nothing is ever inspected.
        truth: What is defective, (H, W) bool; all False on a good frame.
        marked: What the decision marked as defective, (H, W) bool.
    """

    label: str
    z: Values
    truth: Mask
    marked: Mask


def pixel_metrics(
    defective: Iterable[PixelFrame],
    every: Iterable[PixelFrame],
    *,
    exact_values: int = EXACT_VALUES,
    merge_at: int = MERGE_AT,
) -> tuple[Figures, dict[str, Figures]]:
    """Return pixel AUROC, AUPRO up to a false-positive rate of 0.3 and of 0.05, IoU, Dice, and what is inspected.

    Of what is never inspected, good pixels are left out: they cannot be marked wrongly, and the more of them there were,
    the better a map would look that says nothing. Defective pixels there stay, as never found.

    Pixel AUROC and AUPRO are exact. Only if the defective pixels have more than `exact_values` different z, every z is
    cut to 16 significant bits (steps of at most 0.003 %), so that memory stays bounded.

    Args:
        defective: The defective frames that have a mask; gone through once.
        every: The good frames, then the same defective ones type by type; gone through once, after `defective`.
        exact_values: How many different z of defective pixels are told apart.
        merge_at: How many defective pixels wait until equal ones are joined.

    Returns:
        The figures of all frames, and by defect type those of its frames and all good ones. A figure that the data
        cannot give is None; without a defective pixel all are, and there are no types.
    """
    found = _Collector(exact_values, merge_at)
    for frame in defective:
        found.add(frame)
    types = found.finish()
    if not any(len(part.values) for part in types.values()):
        return dict(NO_FIGURES), {}
    values = np.unique(np.concatenate([part.values for part in types.values()]))
    good, total = GoodCounts(values).counts, GoodCounts(values).counts
    good_overlap, overlap = Overlap(), Overlap()
    by_type = {}
    for label, frames in groupby(every, key=lambda frame: frame.label):
        own, own_overlap = GoodCounts(values), Overlap()
        for frame in frames:
            own.add(found.as_compared(frame.z[~frame.truth & (frame.z > NOT_INSPECTED)]))
            own_overlap += Overlap.of(frame)
        total += own.counts
        overlap += own_overlap
        if label == GOOD:
            good, good_overlap = own.counts, own_overlap
        elif label in types:
            own.counts += good
            by_type[label] = _figures([types[label]], values, own.counts, good_overlap + own_overlap)
    return _figures([*types.values()], values, total, overlap), by_type


@dataclass(frozen=True)
class Overlap:
    """How many pixels there are, and how many of them were marked, are defective or inspected, of several frames together."""

    pixels: int = 0
    marked: int = 0
    defective: int = 0
    both: int = 0
    inspected: int = 0
    defective_inspected: int = 0

    @classmethod
    def of(cls, frame: PixelFrame) -> Overlap:
        """Count one frame."""
        inspected = frame.z > NOT_INSPECTED
        counted = (frame.marked, frame.truth, frame.marked & frame.truth, inspected, inspected & frame.truth)
        return cls(frame.z.size, *(int(mask.sum()) for mask in counted))

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def figures(self) -> Figures:
        """Return IoU, Dice, and what share of all and of the defective pixels is inspected, of all frames together.

        IoU = both / either and Dice = 2 both / (marked + defective). What is marked on a good frame counts as wrongly
        marked; None where nothing is marked or defective.
        """
        sizes = self.marked + self.defective
        return {
            "iou": self.both / (sizes - self.both) if sizes else None,
            "dice": 2 * self.both / sizes if sizes else None,
            "inspected_share": self.inspected / self.pixels if self.pixels else None,
            "defective_inspected_share": self.defective_inspected / self.defective if self.defective else None,
        }


def _figures(types: Sequence[DefectPixels], values: Values, counts: Counts, overlap: Overlap) -> Figures:
    """Return the figures of some types; `counts` is cumulated in place."""
    np.cumsum(counts, out=counts)
    if not counts[-1]:
        return {**NO_FIGURES, **overlap.figures()}
    first, *others = (losses(part, values, counts, tuple(AUPRO_LIMITS.values())) for part in types)
    auroc, aupro = sum(others, first).figures()
    return {"pixel_auroc": auroc, **dict(zip(AUPRO_LIMITS, aupro, strict=True)), **overlap.figures()}


class _Collector:
    """Defective pixels by type, kept as different values; above `exact_values` of them every z is rounded."""

    def __init__(self, exact_values: int, merge_at: int) -> None:
        self._exact_values = exact_values
        self._merge_at = merge_at
        self._parts: dict[str, list[DefectPixels]] = {}
        self._waiting = 0
        self._rounds = False

    def add(self, frame: PixelFrame) -> None:
        pixels = defect_pixels(self.as_compared(frame.z), frame.truth)
        self._parts.setdefault(frame.label, []).append(pixels)
        self._waiting += len(pixels.values)
        if self._waiting >= self._merge_at:
            self._compact()

    def as_compared(self, z: Values) -> Values:
        """Return z, or z rounded if there are too many different values; ask after `finish`."""
        return rounded(z) if self._rounds else z

    def finish(self) -> dict[str, DefectPixels]:
        self._compact()
        return {label: parts[0] for label, parts in self._parts.items()}

    def _compact(self) -> None:
        self._waiting = 0
        self._merge()
        if not self._rounds and sum(len(part.values) for (part,) in self._parts.values()) > self._exact_values:
            self._rounds = True
            self._parts = {
                label: [replace(part, values=rounded(part.values))] for label, (part,) in self._parts.items()
            }
            self._merge()

    def _merge(self) -> None:
        for label, parts in self._parts.items():
            self._parts[label] = [merge(parts)]
