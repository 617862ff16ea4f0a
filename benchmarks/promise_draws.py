"""What random splits of scores say about a promise; no images here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibrate.conformal import conformal_factor, groups_needed
from calibrate.suspects import stand_out
from engines.errors import PromiseError

QUANTILE = 0.95


@dataclass(frozen=True)
class Scored:
    """The score of one frame, and the part or block of time that it belongs to."""

    group: str
    score: float


def by_group(frames: Sequence[Scored]) -> dict[str, float]:
    """Return the largest score of each group."""
    found: dict[str, float] = {}
    for frame in frames:
        found[frame.group] = max(frame.score, found.get(frame.group, -math.inf))
    return found


def promise_in_draws(
    unseen: Sequence[Scored], *, wish: float, draws: int, leaked: Sequence[Scored] = ()
) -> dict[str, Any] | None:
    """Fit the factor on one half of the groups, count rejects in the other, again and again.

    Args:
        unseen: Good frames that neither the network nor location and scale have seen.
        wish: The false-reject rate to promise.
        draws: How many random halves.
        leaked: Frames that the network has seen and that are let into the calibration, to show that it is noticed.

    Returns:
        Mean rate and its standard error, the mean of what was promised, and in how many draws the rejects lie beyond the
        95 % quantile that the promise allows; None where half of the groups cannot promise this.
    """
    scores = np.array(list(by_group(unseen).values()))
    seen = list(by_group(leaked).values())
    half = len(scores) // 2
    rates, promised, beyond = [], [], 0
    for draw in range(draws):
        order = np.random.default_rng((draw, round(1e6 * wish))).permutation(len(scores))
        calibration, test = scores[order[:half]], scores[order[half:]]
        try:
            factor, promise = conformal_factor(
                [*calibration, *seen], wished_rate=wish, confident=False, frames=half + len(seen)
            )
        except PromiseError:
            return None
        rejected = int((test > factor).sum())
        rates.append(rejected / len(test))
        promised.append(promise.expected_rate)
        n = half + len(seen)
        beyond += rejected > beta_binomial_quantile(len(test), round(promise.expected_rate * (n + 1)), n)
    return {
        "groups": len(scores),
        "calibration_groups": half + len(seen),
        "mean_rate": float(np.mean(rates)),
        "standard_error": float(np.std(rates, ddof=1) / math.sqrt(draws)),
        "promised": float(np.mean(promised)),
        "beyond": beyond,
        "draws": draws,
    }


def keeps_promise(found: dict[str, Any]) -> bool:
    """Say whether the mean rate is at or under the promise within two standard errors, and few draws lie beyond."""
    at_most = found["promised"] + 2 * found["standard_error"]
    return bool(found["mean_rate"] <= at_most and found["beyond"] <= 0.09 * found["draws"])


def beta_binomial_quantile(parts: int, rejected: int, n: int) -> int:
    """Return the smallest r that is not exceeded by the rejects among new parts with probability 0.95.

    Given the calibration, each part is rejected with a probability that is Beta(l, n + 1 - l) distributed, where l of n
    calibration groups lie at or above the factor.
    """
    a, b = rejected, n + 1 - rejected
    total = 0.0
    for r in range(parts + 1):
        total += math.exp(_log_choose(parts, r) + _log_beta(r + a, parts - r + b) - _log_beta(a, b))
        if total >= QUANTILE:
            return r
    return parts


def contamination(
    unseen: Sequence[Scored], defective: Sequence[float], *, wish: float, intruders: int, draws: int
) -> dict[str, Any] | None:
    """Let defective frames into the calibration, and compare with the same draw without them.

    Three quarters of the groups calibrate: as many as training sets aside.

    Returns:
        Means over the draws: recall on the other defective frames with and without intruders, the false-reject rate on
        the good frames left, and the share of intruders that are named as suspects.
    """
    scores = np.array(list(by_group(unseen).values()))
    bad = np.array(defective)
    count = 3 * len(scores) // 4
    if groups_needed(wish, confident=False) > count:
        return None
    found: dict[str, list[float]] = {"recall": [], "clean_recall": [], "mean_rate": [], "named": []}
    promised = 0.0
    for draw in range(draws):
        random = np.random.default_rng((draw, intruders))
        order, chosen = random.permutation(len(scores)), random.permutation(len(bad))
        calibration, test = scores[order[:count]], scores[order[count:]]
        inside, others = bad[chosen[:intruders]], bad[chosen[intruders:]]
        clean, _ = conformal_factor(list(calibration), wished_rate=wish, confident=False, frames=count)
        factor, promise = conformal_factor([*calibration, *inside], wished_rate=wish, confident=False, frames=count)
        promised = promise.expected_rate
        found["recall"].append(float((others > factor).mean()))
        found["clean_recall"].append(float((others > clean).mean()))
        found["mean_rate"].append(float((test > factor).mean()))
        found["named"].append(float(stand_out([*calibration, *inside])[count:].mean()))
    return {"promised": promised, "draws": draws, **{name: float(np.mean(values)) for name, values in found.items()}}


def ordered_in_time(frames: Sequence[Scored], *, wish: float) -> dict[str, Any] | None:
    """Fit on the first half of the groups, in order, and count rejected groups and frames of the second half."""
    groups = by_group(frames)
    names = sorted(groups)
    half = len(names) // 2
    try:
        factor, promise = conformal_factor(
            [groups[name] for name in names[:half]], wished_rate=wish, confident=False, frames=half
        )
    except PromiseError:
        return None
    later: npt.NDArray[np.float64] = np.array([groups[name] for name in names[half:]])
    return {
        "promised": promise.expected_rate,
        "calibration_groups": half,
        "groups": len(later),
        "rejected": int((later > factor).sum()),
    }


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
