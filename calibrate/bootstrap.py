"""How far an AUROC could be from the truth: a stratified percentile bootstrap over parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
SEED = 0
_BOUNDS = (2.5, 97.5)
_CELLS_AT_ONCE = 2_000_000

Scores = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def auroc_interval(
    good: Scores, bad: Scores, good_groups: Sequence[str], bad_groups: Sequence[str]
) -> tuple[float, float] | None:
    """Return the 95 % interval of the AUROC; the same scores give the same interval.

    Good and defective parts are drawn apart, each as many as there are, with replacement; a part brings all its
    frames (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13). Where all scores are
    perfectly apart, every resample says 1: the interval is then [1, 1], however few the parts.

    Args:
        good: Scores of the good frames.
        bad: Scores of the defective frames.
        good_groups: Part or block of time of each good frame.
        bad_groups: The same of each defective frame.

    Returns:
        Lower and upper bound; None with fewer than two good or two defective parts.
    """
    if len(set(good_groups)) < 2 or len(set(bad_groups)) < 2:
        return None
    order = np.argsort(good, kind="stable")
    ordered = good[order]
    below, up_to = (np.searchsorted(ordered, bad, side=side) for side in ("left", "right"))
    random = np.random.default_rng(SEED)
    chunk = max(1, _CELLS_AT_ONCE // max(len(good), len(bad)))
    draws = zip(_draws(random, good_groups, chunk), _draws(random, bad_groups, chunk), strict=True)
    values = []
    for of_good, of_bad in draws:
        # Column i: how many drawn good frames are among the i lowest.
        lowest = np.concatenate((np.zeros((len(of_good), 1), np.int64), np.cumsum(of_good[:, order], axis=1)), axis=1)
        won = ((lowest[:, below] + lowest[:, up_to]) * of_bad).sum(axis=1)
        values.append(won / 2 / (lowest[:, -1] * of_bad.sum(axis=1)))
    low, high = np.percentile(np.concatenate(values), _BOUNDS)
    return float(low), float(high)


def _draws(random: np.random.Generator, groups: Sequence[str], chunk: int) -> Iterator[Counts]:
    """Yield how often each frame is drawn, (resamples, frames), at most `chunk` resamples at a time."""
    names, group_of_frame = np.unique(np.asarray(groups), return_inverse=True)
    for start in range(0, RESAMPLES, chunk):
        rows = min(chunk, RESAMPLES - start)
        drawn = random.integers(len(names), size=(rows, len(names)))
        drawn += np.arange(rows)[:, np.newaxis] * len(names)
        times = np.bincount(drawn.ravel(), minlength=rows * len(names)).reshape(rows, len(names))
        yield times[:, group_of_frame]
