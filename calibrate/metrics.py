"""The image figures of an evaluation: what the verdicts and the scores say, frame by frame.

scikit-learn has most of them, but it is no part of an installation on the line; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibrate.bootstrap import Scores, auroc_interval
from edge_agent.inspection import Verdict
from engines.auroc import auroc

VERDICTS: tuple[Verdict, ...] = ("PASS", "FAIL", "INVALID")


@dataclass(frozen=True)
class ImageResult:
    """One frame's truth, score and verdict.

    Attributes:
        is_good: The truth.
        score: +inf for INVALID: the PLC rejects such a part whatever the threshold.
        verdict: At the calibrated threshold; INVALID is a reject.
        group: The part or block of time that the frame belongs to.
    """

    is_good: bool
    score: float
    verdict: Verdict
    group: str

    @property
    def is_rejected(self) -> bool:
        return self.verdict != "PASS"


def image_metrics(results: Sequence[ImageResult]) -> dict[str, Any]:
    """Return how well the score orders the frames, and what the verdicts at the calibrated threshold are worth.

    A figure that the data cannot give (no defective frame, nothing rejected) is None.
    """
    bad = np.array([not r.is_good for r in results], bool)
    rejected = np.array([r.is_rejected for r in results], bool)
    caught, missed = int((bad & rejected).sum()), int((bad & ~rejected).sum())
    false_rejects, passed = int((~bad & rejected).sum()), int((~bad & ~rejected).sum())
    return {
        **_ranking(results),
        "recall": _share(caught, caught + missed),
        "precision": _share(caught, caught + false_rejects),
        "f1": _share(2 * caught, 2 * caught + false_rejects + missed),
        "accuracy": _share(caught + passed, len(results)),
        "false_reject_rate": _share(false_rejects, false_rejects + passed),
        "caught": caught,
        "false_passes": missed,
        "false_rejects": false_rejects,
        "passed": passed,
        "confusion": {
            truth: {v: sum(r.is_good == is_good and r.verdict == v for r in results) for v in VERDICTS}
            for truth, is_good in (("good", True), ("defective", False))
        },
    }


def scores_of(results: Sequence[ImageResult], *, good: bool) -> Scores:
    """Return the scores of the good or of the defective frames, newly allocated."""
    return np.array([r.score for r in results if r.is_good == good], np.float64)


def average_precision(good: Scores, bad: Scores) -> float:
    """Return the sum of precision times gain in recall over every distinct score, as scikit-learn defines it."""
    good_rejected, bad_rejected = _rejected_at_every_score(good, bad)
    precision = bad_rejected / (bad_rejected + good_rejected)
    return float((np.diff(bad_rejected, prepend=0) / len(bad) * precision).sum())


def roc_curve(good: Scores, bad: Scores) -> tuple[Scores, Scores]:
    """Return the shares of good and of defective frames rejected at every threshold, both from 0 to 1."""
    good_rejected, bad_rejected = _rejected_at_every_score(good, bad)
    return np.append(0.0, good_rejected / len(good)), np.append(0.0, bad_rejected / len(bad))


def _ranking(results: Sequence[ImageResult]) -> dict[str, Any]:
    good, bad = scores_of(results, good=True), scores_of(results, good=False)
    if not len(good) or not len(bad):
        return {"image_auroc": None, "image_auroc_interval_95": None, "average_precision": None}
    interval = auroc_interval(
        good, bad, [r.group for r in results if r.is_good], [r.group for r in results if not r.is_good]
    )
    return {
        "image_auroc": auroc(good, bad),
        "image_auroc_interval_95": list(interval) if interval else None,
        "average_precision": average_precision(good, bad),
    }


def _rejected_at_every_score(good: Scores, bad: Scores) -> tuple[Scores, Scores]:
    """Return how many good and defective frames have at least each distinct score, from the highest score down."""
    levels = np.unique(np.concatenate((good, bad)))[::-1]
    counts = (len(part) - np.searchsorted(np.sort(part), levels, side="left") for part in (good, bad))
    good_rejected, bad_rejected = (count.astype(np.float64) for count in counts)
    return good_rejected, bad_rejected


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
