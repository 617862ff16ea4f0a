from math import erfc, sqrt

import numpy as np
import pytest

from calibrate.conformal import at_sensitivity, conformal_factor, groups_needed, rate_bound
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
    with pytest.raises(PromiseError, match="Add 1 more good parts"):
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


@pytest.mark.parametrize(
    ("sensitivity", "above"), [(1.5, 36), (0.98, 3), (0.96, 0), (0.5, 0), (1.0, 4), (2, 52), (100, 100)]
)
def test_sensitivity_divides_the_factor_and_the_promise_follows(sensitivity, above):
    scores = [float(n) for n in range(1, 101)]
    factor, promise = conformal_factor(scores, wished_rate=0.05, confident=False, frames=100)
    assert factor == 96.0
    moved, promised = at_sensitivity(scores, factor, promise, sensitivity)
    assert moved == factor / sensitivity
    assert promised.expected_rate == pytest.approx((above + 1) / 101)
    assert promised.bound_95 == rate_bound(100, above + 1)
    assert promised.expected_rate <= promised.bound_95 <= 1


@pytest.mark.parametrize("sensitivity", [0.8, 1.3, 2])
def test_what_sensitivity_promises_is_what_new_parts_show(sensitivity):
    random = np.random.default_rng(0)
    rates, promised = [], []
    for _ in range(400):
        scores = random.lognormal(1, 0.3, 60).tolist()
        factor, promise = conformal_factor(scores, wished_rate=0.1, confident=False, frames=60)
        moved, promise = at_sensitivity(scores, factor, promise, sensitivity)
        rates.append(float((random.lognormal(1, 0.3, 500) > moved).mean()))
        promised.append(promise.expected_rate)
    assert np.mean(rates) <= np.mean(promised)
