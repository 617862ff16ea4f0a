"""The statistics of the promise: what random splits must show, and that a leak is noticed."""

import numpy as np
import pytest
from promise_draws import (
    Scored,
    beta_binomial_quantile,
    by_group,
    contamination,
    keeps_promise,
    ordered_in_time,
    promise_in_draws,
)


def frames(count, *, shift=0.0, groups=None, seed=0):
    random = np.random.default_rng(seed)
    return [Scored(f"g{n % (groups or count):04d}", float(v)) for n, v in enumerate(random.normal(shift, 1, count))]


@pytest.mark.parametrize("wish", [0.1, 0.05, 0.02])
def test_scores_of_one_kind_keep_every_promise(wish):
    found = promise_in_draws(frames(200), wish=wish, draws=200)
    assert keeps_promise(found)
    assert found["mean_rate"] == pytest.approx(found["promised"], abs=0.02)


def test_scores_that_the_network_has_seen_break_it():
    leaked = frames(200, shift=-2.0, seed=1)
    assert not keeps_promise(promise_in_draws(frames(100), wish=0.1, draws=200, leaked=leaked))


def test_too_few_groups_promise_nothing():
    assert promise_in_draws(frames(60), wish=0.02, draws=5) is None
    assert promise_in_draws(frames(600, groups=10), wish=0.1, draws=5) is None
    assert ordered_in_time(frames(20), wish=0.02) is None


def test_a_group_has_the_largest_score_of_its_frames():
    assert by_group([Scored("a", 1.0), Scored("b", 5.0), Scored("a", 3.0)]) == {"a": 3.0, "b": 5.0}


def test_the_quantile_is_that_of_the_beta_binomial():
    random = np.random.default_rng(0)
    rates = random.beta(3, 48, 200_000)
    rejected = random.binomial(40, rates)
    assert beta_binomial_quantile(40, 3, 50) == np.quantile(rejected, 0.95)


def test_intruders_are_named_and_cost_little_where_more_than_they_may_lie_above():
    defective = list(np.random.default_rng(2).normal(60, 1, 50))
    good = [Scored(str(n), float(v)) for n, v in enumerate(np.random.default_rng(3).lognormal(2, 0.3, 80))]
    few = contamination(good, defective, wish=0.1, intruders=1, draws=400)
    assert few["named"] == 1.0
    assert few["clean_recall"] - few["recall"] <= 0.05
    assert few["mean_rate"] <= few["promised"] + 0.005
    assert contamination(good, defective, wish=0.01, intruders=1, draws=5) is None


def test_a_drift_in_time_is_seen():
    early = [Scored(f"hour {n:02d}", 1.0 + n / 1000) for n in range(40)]
    late = [Scored(f"hour {n}", 5.0) for n in range(50, 90)]
    assert ordered_in_time([*early, *late], wish=0.1)["rejected"] == 40


def test_draws_beyond_the_quantile_break_a_promise_whose_mean_holds():
    found = promise_in_draws(frames(200), wish=0.1, draws=200)
    assert not keeps_promise({**found, "beyond": 19})
    assert keeps_promise({**found, "beyond": 18})
