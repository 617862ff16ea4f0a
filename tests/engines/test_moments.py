import numpy as np
import pytest

from engines.moments import FLOOR_SHARE, RunningMoments


def test_location_is_the_mean_and_the_scale_follows_the_deviation():
    rng = np.random.default_rng(3)
    maps = rng.normal(5, 2, (200, 2, 32, 32)).astype(np.float32)
    moments = RunningMoments()
    for one in maps:
        moments.add(one)
    location, scale = moments.location_and_scale()
    np.testing.assert_allclose(location, maps.mean(axis=0), rtol=1e-5)
    assert scale.mean() == pytest.approx((1 + FLOOR_SHARE) * 2, rel=0.03)
    assert location.dtype == scale.dtype == np.float32


def test_a_pixel_that_never_varied_has_a_floor():
    moments = RunningMoments()
    for value in (1.0, 2.0, 3.0):
        maps = np.full((1, 40, 40), value, np.float32)
        maps[0, :20] = 7
        moments.add(maps)
    _, scale = moments.location_and_scale()
    assert scale.min() >= FLOOR_SHARE * 0.5 * 0.99


def test_frames_that_are_all_equal_still_give_a_positive_scale():
    moments = RunningMoments()
    for _ in range(3):
        moments.add(np.zeros((1, 32, 32), np.float32))
    assert (moments.location_and_scale()[1] > 0).all()


def test_what_was_always_padding_is_never_inspected():
    moments = RunningMoments()
    padding = np.zeros((32, 32), bool)
    padding[:4] = True
    for value in range(5):
        moments.add(np.full((1, 32, 32), value, np.float32), padding)
    location, scale = moments.location_and_scale()
    assert np.isinf(scale[0, :4]).all()
    assert np.isfinite(scale[0, 4:]).all()
    np.testing.assert_allclose(location[0, 4:], 2)


@pytest.mark.parametrize("frames", [0, 1])
def test_fewer_than_two_frames_are_an_error(frames):
    moments = RunningMoments()
    for _ in range(frames):
        moments.add(np.zeros((1, 32, 32), np.float32))
    with pytest.raises(ValueError, match="at least 2 frames"):
        moments.location_and_scale()


@pytest.mark.parametrize("first", [0, 7])
def test_without_a_frame_they_are_as_if_it_had_never_been_added(first):
    rng = np.random.default_rng(4)
    frames = list(rng.normal(5, 2, (8, 2, 32, 32)).astype(np.float32))
    paddings = [rng.random((32, 32)) < 0.3 for _ in frames]
    all_of_them, others = RunningMoments(), RunningMoments()
    for number, (maps, padding) in enumerate(zip(frames, paddings, strict=True)):
        all_of_them.add(maps, padding)
        if number != first:
            others.add(maps, padding)
    found = all_of_them.without(frames[first], paddings[first]).location_and_scale()
    for one, expected in zip(found, others.location_and_scale(), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-5)
