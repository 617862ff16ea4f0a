import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.decision import (
    ImplausibleErrorMapError,
    NonFiniteErrorMapError,
    ShapeMismatchError,
    decide,
    score,
    z_map,
)
from edge_agent.thresholds import Calibration, FrameLimits, Promise, ThresholdRevision

SIZE = (64, 64)


def revision(factor=3.0, min_area=4, *, maps=1, scale=1.0):
    calibration = Calibration(
        schema=1,
        revision="r0001",
        created="2026-01-01T00:00:00+00:00",
        made_by="test",
        note="",
        model="cpu",
        model_sha256="0" * 64,
        factor=factor,
        min_area_map_px=min_area,
        frame_limits=FrameLimits(mean_low=0, mean_high=255, contrast_low=0),
        promise=Promise(wished_rate=0.1, expected_rate=0.1, bound_95=0.2, groups=9, frames=9, confident=False),
    )
    shape = (maps, *SIZE)
    return ThresholdRevision(np.zeros(shape, np.float32), np.full(shape, scale, np.float32), calibration)


def maps_with(*regions, count=1):
    # Not quite zero anywhere: a map of zeros is what a dead engine gives.
    maps = np.full((count, *SIZE), 1e-6, np.float32)
    for top, left, height, width, value in regions:
        maps[:, top : top + height, left : left + width] = value
    return maps


def decided(maps, thresholds, roi_size_wh=(64, 64)):
    return decide(maps, thresholds, roi_size_wh=roi_size_wh)


@pytest.mark.parametrize(("value", "verdict"), [(2.999, "PASS"), (3.0, "PASS"), (3.001, "FAIL"), (1e6, "FAIL")])
def test_a_part_fails_only_above_the_factor(value, verdict):
    decision = decided(maps_with((10, 10, 4, 4, value)), revision())
    assert decision.verdict == verdict
    assert (decision.score > 3.0) == (verdict == "FAIL")
    assert decision.score == pytest.approx(value, rel=2e-3)


def test_a_region_exactly_at_the_factor_passes_also_beside_a_pixel_above_it():
    decision = decided(maps_with((10, 10, 8, 8, 3.0), (40, 40, 1, 1, 9.0)), revision())
    assert (decision.verdict, decision.defects) == ("PASS", ())


@pytest.mark.parametrize(("height", "width", "verdict"), [(1, 3, "PASS"), (2, 2, "FAIL"), (1, 5, "FAIL")])
def test_area_exactly_at_the_minimum_counts(height, width, verdict):
    assert decided(maps_with((5, 5, height, width, 9.0)), revision()).verdict == verdict


def test_pixels_that_touch_at_a_corner_are_one_region():
    assert decided(maps_with((5, 5, 2, 1, 9.0), (7, 6, 2, 1, 9.0)), revision()).verdict == "FAIL"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_pixel_that_is_not_finite_is_never_judged(value):
    maps = maps_with()
    maps[0, 63, 63] = value
    with pytest.raises(NonFiniteErrorMapError) as caught:
        decided(maps, revision())
    assert caught.value.reason == "non_finite"


def test_infinities_of_both_signs_do_not_cancel():
    maps = maps_with()
    maps[0, 0, 0], maps[0, 0, 1] = np.inf, -np.inf
    with pytest.raises(NonFiniteErrorMapError):
        decided(maps, revision())


def test_z_that_overflows_is_never_judged():
    with pytest.raises(NonFiniteErrorMapError):
        decided(maps_with((0, 0, 64, 64, 1e30)), revision(scale=1e-30))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_maps_that_no_engine_gives_are_never_judged(value):
    with pytest.raises(ImplausibleErrorMapError):
        decided(np.full((1, *SIZE), value, np.float32), revision())


def test_maps_of_another_shape_are_refused():
    with pytest.raises(ShapeMismatchError, match=r"\(1, 32, 64\)"):
        decided(np.zeros((1, 32, 64), np.float32), revision())


def test_what_has_an_infinite_scale_is_never_inspected():
    thresholds = revision()
    thresholds.scale[0, :32] = np.inf
    assert decided(maps_with((10, 10, 8, 8, 1e9)), thresholds).verdict == "PASS"
    assert decided(maps_with((40, 10, 8, 8, 1e9)), thresholds).verdict == "FAIL"


def test_z_is_the_sum_over_the_maps_in_units_of_their_scale():
    thresholds = revision(maps=2)
    thresholds.location[0], thresholds.location[1] = 1.0, 2.0
    thresholds.scale[0], thresholds.scale[1] = 2.0, 4.0
    maps = np.stack([np.full(SIZE, 5.0, np.float32), np.full(SIZE, 10.0, np.float32)])
    assert z_map(maps, thresholds) == pytest.approx(np.full(SIZE, 4.0))


def test_defects_come_largest_first_in_camera_pixels():
    decision = decided(maps_with((8, 16, 2, 4, 5.0), (40, 4, 10, 6, 7.0)), revision(), roi_size_wh=(128, 192))
    assert [d.bbox_xywh_px for d in decision.defects] == [(8, 120, 12, 30), (32, 24, 8, 6)]
    assert [d.area_px for d in decision.defects] == [360, 48]
    assert [d.peak for d in decision.defects] == [7.0, 5.0]
    assert decision.defect_mask.sum() == 68


def test_regions_that_are_too_small_are_not_in_the_mask():
    decision = decided(maps_with((8, 8, 4, 4, 5.0), (40, 40, 1, 2, 50.0)), revision())
    assert not decision.defect_mask[40, 40]
    assert decision.defect_mask[8, 8]


def slow_score(z, min_area):
    for level in np.unique(z)[::-1]:
        _, _, stats, _ = cv2.connectedComponentsWithStats((z >= level).astype(np.uint8), connectivity=8)
        if (stats[1:, 4] >= min_area).any():
            return float(level)
    raise AssertionError


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(3, 24),
    width=st.integers(3, 24),
    min_area=st.integers(1, 9),
    magnitude=st.sampled_from([0.1, 1.0, 30.0]),
    smooth=st.booleans(),
)
def test_score_agrees_with_trying_every_level(seed, height, width, min_area, magnitude, smooth):
    z = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32) * np.float32(magnitude)
    z = cv2.blur(z, (3, 3)) if smooth else z
    exact, found = slow_score(z, min_area), score(z, min_area)
    assert exact <= found <= exact + 1.001e-3 * max(abs(found), 1.0) + 1e-6
    for limit in (exact * 0.9 - 0.1, exact * 1.1 + 0.1):
        if limit < exact:
            assert limit < score(z, min_area, above=limit) == pytest.approx(exact, abs=3e-3 * max(abs(exact), 1))
        else:
            assert limit >= score(z, min_area, at_most=limit) == pytest.approx(exact, abs=3e-3 * max(abs(exact), 1))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), lower=st.floats(0.1, 2), step=st.floats(0.01, 2))
def test_raising_the_factor_never_adds_a_defect(seed, lower, step):
    maps = np.abs(np.random.default_rng(seed).normal(size=(1, *SIZE))).astype(np.float32)
    maps[0] = cv2.blur(maps[0], (3, 3))
    low, high = decided(maps, revision(lower)), decided(maps, revision(lower + step))
    assert not (high.defect_mask & ~low.defect_mask).any()
    assert high.score == pytest.approx(low.score, rel=3e-3, abs=3e-3)
    assert not (low.verdict == "PASS" and high.verdict == "FAIL")
