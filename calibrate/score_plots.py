"""The scores of good and of defective frames as pictures: histogram and ROC curve."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from calibrate.metrics import ImageResult, roc_curve, scores_of
from calibrate.svg import Axis, Plot

_BINS_PER_OCTAVE = 4
_OCTAVES_SHOWN = (-3, 6)
_SHARES = [(0.0, "0"), (0.25, "25 %"), (0.5, "50 %"), (0.75, "75 %"), (1.0, "100 %")]
_ROUND = (1, 2, 5)


def histogram(results: Sequence[ImageResult], limit: float) -> str:
    """Draw how many frames have which score: good ones upwards, defective ones downwards, with the limit.

    Scores are shown as multiples of the limit, in steps of a quarter of an octave; a frame exactly at the limit
    passes, so it stands left of it. Frames without a score (INVALID) are left out.
    """
    good, bad = (_bins(scores_of(results, good=is_good), limit) for is_good in (True, False))
    low = math.floor(min([*good, *bad, -_BINS_PER_OCTAVE]) / _BINS_PER_OCTAVE)
    high = math.ceil((max([*good, *bad, _BINS_PER_OCTAVE]) + 1) / _BINS_PER_OCTAVE)
    most_good, most_bad = max(good.values(), default=1), max(bad.values(), default=0)
    step = _round_step(max(most_good, most_bad))
    ticks = [(float(n), str(abs(n))) for n in range(-step * (most_bad // step), most_good + 1, step)]
    octaves = range(low, high + 1)
    plot = Plot(
        Axis(low, high, [(octave, _multiple(octave)) for octave in octaves], "score, in multiples of the limit"),
        Axis(-1.12 * most_bad, 1.12 * most_good, ticks, "frames"),
    )
    for counts, sign, kind in ((good, 1, "good"), (bad, -1, "bad")):
        for place, count in counts.items():
            is_wrong = (place >= 0) == (kind == "good")
            left, right = place / _BINS_PER_OCTAVE, (place + 1) / _BINS_PER_OCTAVE
            plot.bar(left, right, 0, sign * count, f"{kind}{' wrong' if is_wrong else ''}")
    plot.line([(low, 0), (high, 0)], "zero")
    plot.line([(0, -1.12 * most_bad), (0, 1.12 * most_good)], "limit")
    plot.text(0, 1.12 * most_good, "limit", "limit", dx=4, dy=10)
    plot.text(high, 1.12 * most_good, "good", "good", anchor="end", dx=-4, dy=12)
    if bad:
        plot.text(high, -1.12 * most_bad, "defective", "bad", anchor="end", dx=-4, dy=-5)
    return plot.svg(
        "Histogram of the scores of good and of defective frames, with the limit between passed and rejected."
    )


def roc(results: Sequence[ImageResult], *, false_reject_rate: float, recall: float) -> str:
    """Draw what share of defective frames is caught at which share of good ones rejected, with today's limit."""
    points = list(zip(*roc_curve(scores_of(results, good=True), scores_of(results, good=False)), strict=True))
    plot = Plot(Axis(0, 1, _SHARES, "good frames rejected"), Axis(0, 1, _SHARES, "defective frames caught"))
    plot.line([(0, 0), (1, 1)], "chance")
    plot.line(points, "curve")
    plot.dot(false_reject_rate, recall, "limit")
    right = false_reject_rate < 0.5
    plot.text(
        false_reject_rate,
        recall,
        "today's limit",
        "limit",
        anchor="start" if right else "end",
        dx=10 if right else -10,
        dy=-8 if recall < 0.15 else 16,
    )
    return plot.svg("ROC curve: the share of defective frames caught against the share of good frames rejected.")


def _bins(scores: np.ndarray, limit: float) -> Counter[int]:
    """Count by bin: bin i holds the scores in (2^(i/4), 2^((i+1)/4)] times the limit."""
    least, most = (octave * _BINS_PER_OCTAVE for octave in _OCTAVES_SHOWN)
    finite = scores[np.isfinite(scores)] / limit
    with np.errstate(divide="ignore", invalid="ignore"):
        octaves = np.where(finite > 0, np.log2(finite), -np.inf)
    places = np.clip(np.ceil(octaves * _BINS_PER_OCTAVE) - 1, least, most - 1)
    return Counter(places.astype(int).tolist())


def _multiple(octave: int) -> str:
    return str(2**octave) if octave >= 0 else {1: "½", 2: "¼", 3: "⅛"}[-octave]


def _round_step(most: int) -> int:
    """Return a step of 1, 2, 5, 10, ... that divides the axis into at most four."""
    return next(int(factor * 10**power) for power in range(10) for factor in _ROUND if most <= 4 * factor * 10**power)
