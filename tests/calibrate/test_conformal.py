from math import erfc, sqrt

import numpy as np
import pytest

from calibrate.conformal import conformal_factor, groups_needed, rate_bound
from engines.errors import PromiseError


@pytest.mark.parametrize(("n", "bound"), [(60, 0.0487), (209, 0.01423), (299, 0.00997), (2995, 0.0010)])
def test_bound_when_none_of_n_is_rejected(n, bound):
    assert rate_bound(n, 1) == pytest.approx(1 - 0.05 ** (1 / n), abs=1e-7)
    assert rate_bound(n, 1) == pytest.approx(bound, rel=5e-3)


@pytest.mark.parametrize(("n", "rejected"), [(60, 3), (19, 2), (1000, 37)])
def test_bound_is_the_beta_quantile(n, rejected):
    beta = pytest.importorskip("scipy.stats", reason="scipy comes with the `train` extra").beta
    assert rate_bound(n, rejected) == pytest.approx(beta.ppf(0.95, rejected, n + 1 - rejected), abs=1e-7)


def test_19_parts_are_just_enough_for_one_in_twenty():
    factor, promise = conformal_factor(list(range(19)), wished_rate=0.05, confident=False, frames=19)
    assert factor == 18
    assert promise.expected_rate == pytest.approx(0.05)
    with pytest.raises(PromiseError, match="Add 1 more set-aside good parts"):
        conformal_factor(list(range(18)), wished_rate=0.05, confident=False, frames=18)


def test_confident_needs_299_for_one_in_a_hundred():
    assert groups_needed(0.01, confident=True) == 299
    _, promise = conformal_factor(list(range(299)), wished_rate=0.01, confident=True, frames=299)
    assert promise.bound_95 <= 0.01
    with pytest.raises(PromiseError, match="95 % confidence"):
        conformal_factor(list(range(298)), wished_rate=0.01, confident=True, frames=298)


@pytest.mark.parametrize("wished", [0.02, 0.1])
def test_the_promise_holds_on_average_over_many_calibrations(wished):
    rng = np.random.default_rng(7)
    rates = []
    for _ in range(2000):
        factor, promise = conformal_factor(rng.normal(size=60).tolist(), wished_rate=wished, confident=False, frames=60)
        rates.append(erfc(factor / sqrt(2)) / 2)
    assert np.mean(rates) == pytest.approx(promise.expected_rate, rel=0.05)
    assert promise.expected_rate <= wished
