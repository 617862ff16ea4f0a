"""Good parts that change, and too much that is rejected: said in time, and not when nothing is the matter."""

import cv2
import numpy as np
import pytest

from edge_agent.drift import FIGURES, DriftWatch, figures_of, sharpness, usual_of
from edge_agent.reject_watch import LAST_PARTS, RejectWatch
from edge_agent.station import AlarmsPart
from edge_agent.thresholds import Usual

USUAL = {name: Usual(middle=10.0, spread=2.0) for name in FIGURES}


def feed(watch, values):
    """Give every figure the usual value but for those that are given; returns after how many parts one drifted."""
    for number, changed in enumerate(values, 1):
        watch.add({**dict.fromkeys(FIGURES, 10.0), **changed})
        if [*watch.drifting()]:
            return number
    return None


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_shift_by_two_and_a_half_deviations_is_seen_within_fifty_parts(figure, sign):
    for seed in range(20):
        random = np.random.default_rng(seed)
        watch = DriftWatch(USUAL)
        assert feed(watch, ({figure: v} for v in random.normal(10, 2, 500))) is None
        seen = feed(watch, ({figure: v} for v in random.normal(10 + sign * 5, 2, 50)))
        assert seen is not None, seed
        assert [*watch.drifting()] == [figure]


@pytest.mark.parametrize("sign", [-1, 1])
def test_nearness_says_how_far_a_figure_is_from_being_called_drifting(sign):
    watch = DriftWatch(USUAL)
    assert watch.nearness() == dict.fromkeys(FIGURES, 0.0)
    # Each part adds 2.5 deviations less the allowance of 1; the limit is 25.
    for number in range(1, 17):
        assert feed(watch, [{"brightness": 10.0 + sign * 5}]) is None
        assert watch.nearness() == {**dict.fromkeys(FIGURES, 0.0), "brightness": pytest.approx(number * 1.5 / 25)}
    assert feed(watch, [{"brightness": 10.0 + sign * 5}]) == 1
    assert watch.nearness()["brightness"] > 1


def test_what_is_usual_is_no_drift():
    random = np.random.default_rng(0)
    values = random.normal(10, 2, (100_000, len(FIGURES)))
    assert feed(DriftWatch(USUAL), (dict(zip(FIGURES, row, strict=True)) for row in values)) is None


def test_defective_parts_now_and_then_are_no_drift():
    random = np.random.default_rng(1)
    values = np.where(random.random(20_000) < 0.1, 1e6, random.normal(10, 2, 20_000))
    assert feed(DriftWatch(USUAL), ({"score": v} for v in values)) is None


def test_a_drift_that_goes_away_is_forgotten():
    watch = DriftWatch(USUAL)
    assert feed(watch, [{"brightness": 100.0}] * 5000) is not None
    for _ in range(60):
        watch.add(dict.fromkeys(FIGURES, 10.0))
    assert not [*watch.drifting()]


def test_a_figure_that_never_varied_is_not_watched():
    usual = usual_of({"score": [1.0, 2.0, 3.0, 4.0, 100.0] * 6, "brightness": [5.0] * 30, "contrast": [1.0, 2.0] * 10})
    assert list(usual) == ["score"]
    assert usual["score"].middle == 3.0
    assert feed(DriftWatch(usual), [{"score": 3.0, "brightness": 99.0}] * 200) is None


def lamp_of(watch, values):
    """Return for which share of the parts a drift was said."""
    return np.mean([feed(watch, [{"brightness": value}]) is not None for value in values])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.35, 0.4, 0.5])
@pytest.mark.parametrize("count", [50, 200])
def test_good_parts_of_two_kinds_are_no_drift_and_a_shift_of_both_is(share, count):
    for seed in range(3):
        random = np.random.default_rng(seed)

        def parts(number, random=random):
            return random.normal(120, 1.5, number) + 15 * (random.random(number) < share)

        usual = usual_of({"brightness": parts(count).tolist()})
        assert lamp_of(DriftWatch(usual), parts(5000)) == 0, seed
        if share != 0.5:
            assert feed(DriftWatch(usual), ({"brightness": v} for v in parts(50) + 15)) is not None, seed


def test_parts_of_one_kind_are_watched_as_closely_as_they_vary():
    for seed in range(20):
        values = np.random.default_rng(seed).normal(100, 3, 200)
        deviation = 1.4826 * np.median(np.abs(values - np.median(values)))
        assert usual_of({"brightness": values.tolist()})["brightness"].spread == pytest.approx(deviation)


def test_a_lamp_that_wanders_by_half_a_percent_is_no_drift_and_one_that_fades_is():
    random = np.random.default_rng(3)
    usual = usual_of({"brightness": random.normal(120, 0.1, 200).tolist()})
    day = 120 + 0.5 * np.sin(np.linspace(0, 2 * np.pi, 20_000)) + random.normal(0, 0.1, 20_000)
    assert lamp_of(DriftWatch(usual), day) == 0
    assert feed(DriftWatch(usual), ({"brightness": v} for v in random.normal(0.975 * 120, 0.1, 50))) is not None


def test_the_least_spread_is_one_percent():
    near = np.linspace(-0.001, 0.001, 30)
    usual = usual_of({"sharpness": (4 + near).tolist(), "contrast": (40 + near).tolist(), "score": near.tolist()})
    assert {name: found.spread for name, found in usual.items()} == pytest.approx(
        {"sharpness": 0.04, "contrast": 0.4, "score": 0.01}
    )


def test_the_figures_are_of_the_frame():
    random = np.random.default_rng(2)
    sharp = random.integers(0, 255, (80, 96, 3)).astype(np.uint8)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 3)
    assert figures_of(sharp, 0.0)["score"] < figures_of(sharp, 1.0)["score"] == 0.0
    assert sharpness(blurred) < 0.3 * sharpness(sharp)
    grey = np.ascontiguousarray(sharp[:, :, :1])
    assert sharpness(grey) == pytest.approx(sharpness(np.repeat(grey, 3, axis=2)), rel=0.01)
    assert figures_of(np.full((80, 96, 1), 77, np.uint8), 1.0) == {
        "score": 0.0,
        "brightness": 77.0,
        "contrast": 0.0,
        "sharpness": 0.0,
    }


def watch_of(**alarms):
    return RejectWatch(AlarmsPart(**alarms))


def test_rejects_in_a_row_halt_and_a_good_part_between_them_does_not():
    watch = watch_of(max_consecutive_fail=3)
    for verdict in ("FAIL", "FAIL", "PASS", "FAIL", "FAIL", "INVALID", "FAIL", "FAIL"):
        watch.add(verdict)
        assert watch.reason_to_halt() is None
    watch.add("FAIL")
    assert watch.reason_to_halt() == "max_consecutive_fail"
    watch.reset()
    assert watch.reason_to_halt() is None


def test_invalid_parts_in_a_row_halt():
    watch = watch_of(max_consecutive_invalid=2)
    watch.add("INVALID")
    watch.add("INVALID")
    assert watch.reason_to_halt() == "max_consecutive_invalid"


@pytest.mark.parametrize(
    ("fail", "invalid", "reason"),
    [
        (20, 20, "max_consecutive_fail"),
        (20, 5, "max_consecutive_fail"),
        (5, 20, "max_consecutive_invalid"),
        (20, None, None),
        (None, 20, None),
        (None, None, None),
    ],
)
def test_fail_and_invalid_in_turn_halt_at_the_larger_limit_where_both_have_one(fail, invalid, reason):
    watch = watch_of(max_consecutive_fail=fail, max_consecutive_invalid=invalid)
    for verdict in ("PASS", *("FAIL", "INVALID") * 9, "FAIL"):
        watch.add(verdict)
        assert watch.reason_to_halt() is None
    watch.add("INVALID")
    assert watch.reason_to_halt() == reason
    watch.add("PASS")
    assert watch.reason_to_halt() is None


def test_what_the_line_does_not_say_is_not_watched():
    watch = watch_of()
    for _ in range(500):
        watch.add("FAIL")
    assert watch.reason_to_halt() is None
    assert not watch.rejects_too_many


def test_a_reject_rate_needs_a_hundred_parts():
    watch = watch_of(max_reject_rate=0.2)
    for number in range(LAST_PARTS):
        assert not watch.rejects_too_many
        watch.add("FAIL" if number < 21 else "PASS")
    assert watch.rejects_too_many
    watch.add("PASS")
    watch.add("PASS")
    assert not watch.rejects_too_many
    for _ in range(LAST_PARTS):
        watch.add("FAIL")
    watch.reset()
    assert not watch.rejects_too_many
