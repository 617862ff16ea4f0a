"""The figures of an evaluation. Image metrics use the score and the verdict, pixel metrics z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.inspection import Mask, Verdict

Values = npt.NDArray[np.float32]

AUPRO_THRESHOLDS = 2000


@dataclass(frozen=True)
class ImageResult:
    """One frame's truth, score and verdict."""

    is_good: bool
    score: float
    verdict: Verdict


def image_metrics(results: Sequence[ImageResult]) -> dict[str, float | int | None]:
    """Return image AUROC and, at the calibrated threshold, recall, precision, F1 and false-reject rate.

    A figure that the data cannot give (no defective frame, nothing rejected) is None.
    """
    bad = np.array([not r.is_good for r in results])
    rejected = np.array([r.verdict != "PASS" for r in results])
    caught, missed = int((bad & rejected).sum()), int((bad & ~rejected).sum())
    false_rejects, passed = int((~bad & rejected).sum()), int((~bad & ~rejected).sum())
    scores = np.array([r.score for r in results])
    both = bad.any() and not bad.all()
    return {
        "image_auroc": _auroc(np.sort(scores[~bad]), scores[bad]) if both else None,
        "recall": _share(caught, caught + missed),
        "precision": _share(caught, caught + false_rejects),
        "f1": _share(2 * caught, 2 * caught + false_rejects + missed),
        "false_reject_rate": _share(false_rejects, false_rejects + passed),
        "caught": caught,
        "false_passes": missed,
        "false_rejects": false_rejects,
        "passed": passed,
    }


class PixelMetrics:
    """Pixel AUROC and AUPRO over all frames, from z at mask resolution; keeps every pixel until `result`."""

    def __init__(self) -> None:
        self._good: list[Values] = []
        self._bad: list[Values] = []
        self._regions: list[Values] = []

    def add(self, z: Values, mask: Mask) -> None:
        """Take one frame into account.

        Args:
            z: (H, W) float32 at the mask's resolution; not kept.
            mask: The truth, (H, W) bool.
        """
        self._good.append(z[~mask])
        self._bad.append(z[mask])
        count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
        self._regions += [z[labels == label] for label in range(1, count)]

    def result(self) -> dict[str, float | None]:
        """Return `pixel_auroc` and `aupro` (at a false-positive rate of 0.3); None without a defective pixel."""
        if not self._regions:
            return {"pixel_auroc": None, "aupro": None}
        good = np.sort(np.concatenate(self._good))
        return {"pixel_auroc": _auroc(good, np.concatenate(self._bad)), "aupro": aupro(good, self._regions, 0.3)}


def aupro(good_sorted: Values, regions: Sequence[Values], fpr_limit: float) -> float:
    """Return the normalised area under the per-region-overlap curve up to a false-positive rate.

    Thresholds stand at equidistant ranks of the good pixels' scores; the last point is interpolated at the limit
    (Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, section 4.3).

    Args:
        good_sorted: Scores of all good pixels, ascending.
        regions: Scores of the pixels of each connected true region.
        fpr_limit: End of the integration, between 0 and 1.
    """
    n = len(good_sorted)
    ranks = np.unique(np.linspace(0, min(n - 1, np.ceil(fpr_limit * n)), AUPRO_THRESHOLDS).astype(np.int64))
    thresholds = good_sorted[n - 1 - ranks]
    fpr = 1 - np.searchsorted(good_sorted, thresholds, side="right") / n
    overlap = np.zeros(len(thresholds))
    for region in regions:
        overlap += 1 - np.searchsorted(np.sort(region), thresholds, side="right") / len(region)
    overlap /= len(regions)
    # No good pixel is above the highest one; beyond the last rank the curve reaches 1 at 1.
    fpr, overlap = np.append(fpr, 1.0), np.append(overlap, 1.0)
    inside = fpr < fpr_limit
    fpr_cut = np.append(fpr[inside], fpr_limit)
    overlap_cut = np.append(overlap[inside], np.interp(fpr_limit, fpr, overlap))
    area = float((np.diff(fpr_cut) * (overlap_cut[1:] + overlap_cut[:-1])).sum() / 2)
    return area / fpr_limit


def _auroc(good_sorted: npt.NDArray[Any], bad: npt.NDArray[Any]) -> float:
    """Return P(bad > good) + P(bad = good) / 2, exactly (Hanley and McNeil, Radiology 143, 1982).

    Only one side is sorted: a sort of all pixels together would need several times their memory.
    """
    below = np.searchsorted(good_sorted, bad, side="left").sum(dtype=np.float64)
    up_to = np.searchsorted(good_sorted, bad, side="right").sum(dtype=np.float64)
    return float((below + up_to) / 2 / (len(good_sorted) * len(bad)))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
