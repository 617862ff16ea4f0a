"""What n good parts can promise: split conformal calibration.

With n exchangeable good groups, the k-th smallest of their scores is exceeded by a new good part with expected
probability (n + 1 - k) / (n + 1) (Vovk et al., Algorithmic Learning in a Random World, 2005); given the n parts, that
probability is Beta(n + 1 - k, k) distributed (Vovk, Conditional validity of inductive conformal predictors, 2012).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from calibrate.unit import GOOD, way_out
from edge_agent.thresholds import Promise, Unit
from engines.errors import PromiseError

CONFIDENCE = 0.95


def conformal_factor(
    group_scores: Sequence[float], *, wished_rate: float, confident: bool, frames: int, unit: Unit = "part"
) -> tuple[float, Promise]:
    """Choose the factor that keeps the wished false-reject rate.

    Args:
        group_scores: The largest score of each group of good frames that the network, location and scale never saw.
        wished_rate: Share of new good parts that may be rejected, between 0 and 1.
        confident: Ask that the 95 % upper bound, not only the expected rate, meets the wish.
        frames: How many frames the groups hold.
        unit: What one group is.

    Raises:
        PromiseError: There are too few groups; the message says how many more are needed.
    """
    n = len(group_scores)
    rejected = check_enough_groups(n, wished_rate=wished_rate, confident=confident, unit=unit)
    factor = sorted(group_scores)[n - rejected]
    promise = Promise(
        wished_rate=wished_rate,
        expected_rate=rejected / (n + 1),
        bound_95=rate_bound(n, rejected),
        groups=n,
        frames=frames,
        confident=confident,
        unit=unit,
    )
    return factor, promise


def at_sensitivity(
    group_scores: Sequence[float], factor: float, promise: Promise, sensitivity: float
) -> tuple[float, Promise]:
    """Move a factor, and say what it promises then.

    With a of n good groups above a fixed limit, (a + 1) / (n + 1) is, on average, at least the rate of new ones above it.
    That this holds for a multiple of one of their scores, too, is not proved but measured, in the tests.

    Args:
        group_scores: That gave the factor.
        factor: That keeps the wish.
        promise: Of that factor.
        sensitivity: More than 1 finds fainter defects, less than 1 rejects fewer good parts.
    """
    moved, n = factor / sensitivity, len(group_scores)
    rejected = sum(score > moved for score in group_scores) + 1
    return moved, promise.model_copy(update={"expected_rate": rejected / (n + 1), "bound_95": rate_bound(n, rejected)})


def check_enough_groups(
    n: int, *, wished_rate: float, confident: bool, unit: Unit = "part", given: int | None = None
) -> int:
    """Return how many of n groups may lie above the factor.

    Args:
        n: Groups that give the factor.
        wished_rate: Share of new good parts that may be rejected.
        confident: Ask that the 95 % upper bound meets it.
        unit: What one group is.
        given: New groups in all, where half of them had to say what is usual; None where the n are all that there are, and
            half of those to come will.

    Raises:
        PromiseError: There are too few groups; the message says how many more are needed.
    """
    rejected = _most_rejected(n, wished_rate, confident=confident)
    if rejected is None:
        needed = groups_needed(wished_rate, confident=confident)
        if given is None:
            more, why = more_needed(needed, n, halved=0), f"{needed} must set the limit, and half of new ones say"
        else:
            more, why = in_all(needed) - given, f"{in_all(needed)} in all, of which half say"
        raise PromiseError(
            f"{n} {GOOD[unit]} cannot promise a false-reject rate of {wished_rate:g}"
            f"{' with 95 % confidence' if confident else ''}: with {n} the least expected rate is {1 / (n + 1):.4f} "
            f"(95 % bound {rate_bound(n, 1):.4f}).",
            fix=f"Add {more} more {GOOD[unit]} ({why} what is usual), or wish for a higher rate.{way_out(unit)}",
        )
    return rejected


def groups_needed(wished_rate: float, *, confident: bool) -> int:
    """Return the smallest number of groups that can promise the rate."""
    if confident:
        return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-wished_rate) - 1e-9)
    return math.ceil(1 / wished_rate - 1 - 1e-9)


def more_needed(needed: int, n: int, *, halved: int) -> int:
    """Return how many new groups it takes to make n groups that give the factor so many as are needed.

    Args:
        needed: More than n.
        n: Groups that give it now.
        halved: New groups until now; the first half of all new ones, rounded down, says what is usual.
    """
    return 2 * (needed - n) - (halved % 2 == 0)


def in_all(needed: int) -> int:
    """Return how many new groups it takes if the first half of them, rounded down, says what is usual."""
    return 2 * needed - 1


def rate_bound(n: int, rejected: int) -> float:
    """Return the 95 % upper bound of the false-reject rate when the factor is exceeded at rank n + 1 - `rejected`.

    It is the 0.95 quantile of Beta(rejected, n + 1 - rejected), found by halving from
    P(Beta(a, n + 1 - a) <= x) = P(Binomial(n, x) >= a).
    """
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if 1 - _binomial_below(n, middle, rejected) < CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def chance_of_at_least(rejected: int, parts: int, rate: float) -> float:
    """Return the probability that so many of the parts are rejected if each one is with that rate."""
    return 1 - _binomial_below(parts, rate, rejected)


def _most_rejected(n: int, wished_rate: float, *, confident: bool) -> int | None:
    most = math.floor(wished_rate * (n + 1) + 1e-9)
    if confident:
        while most >= 1 and rate_bound(n, most) > wished_rate:
            most -= 1
    return most if most >= 1 else None


def _binomial_below(n: int, x: float, a: int) -> float:
    """Return P(Binomial(n, x) < a)."""
    if not 0 < x < 1:
        return 1.0 if x <= 0 else 0.0
    log_n = math.lgamma(n + 1)
    return math.fsum(
        math.exp(log_n - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(x) + (n - i) * math.log1p(-x))
        for i in range(a)
    )
