"""The area under the ROC curve, exactly, from ranks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def auroc(good: npt.ArrayLike, defective: npt.ArrayLike) -> float:
    """Return the probability that a defective one lies above a good one, half of it where they are equal.

    This is the area under the ROC curve (Hanley and McNeil, Radiology 143(1), 1982).

    Args:
        good: Values of good ones, at least one.
        defective: Values of defective ones, at least one.
    """
    ordered, bad = np.sort(np.asarray(good)), np.asarray(defective)
    below, not_above = (np.searchsorted(ordered, bad, side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * ordered.size))
