"""How large the maps are, and how a frame is scaled to them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from engines.errors import UsageError
from engines.reduction import (
    SIDE_MULTIPLE,
    SMALLEST_SIDE_MAP_PX,
    Geometry,
    map_shape_for,
    plan_geometry,
    reduce_frame,
)

regions = some.tuples(some.integers(64, 4000), some.integers(64, 4000))
sizes = some.integers(4, 64).map(lambda sixteenths: 16 * sixteenths)


@pytest.mark.parametrize(
    ("region_wh", "size", "map_wh"),
    [
        ((640, 261), 256, (400, 160)),
        ((271, 328), 256, (240, 288)),
        ((400, 400), 256, (256, 256)),
        ((100, 100), 256, (96, 96)),
        ((96, 80), 64, (64, 64)),
        ((96, 80), 256, (96, 80)),
        ((1920, 1080), 256, (336, 192)),
        ((2000, 100), 128, (256, 64)),
        ((64, 5000), 64, (64, 64)),
        ((48, 48), 256, (64, 64)),
    ],
)
def test_the_map_has_the_regions_own_aspect(region_wh, size, map_wh):
    assert map_shape_for(region_wh[::-1], size) == map_wh[::-1]


@given(regions, sizes)
def test_every_map_can_be_made_and_shows_no_more_than_the_region(region, size):
    shape = map_shape_for(region, size)
    for side, available in zip(shape, region, strict=True):
        assert side % SIDE_MULTIPLE == 0
        assert SMALLEST_SIDE_MAP_PX <= side <= available
    plan_geometry((*region, 3), None, size)


@given(regions, sizes)
def test_pixels_and_aspect_are_off_by_rounding_alone(region, size):
    height, width = map_shape_for(region, size)
    wished = min(size * size, region[0] * region[1])
    # A side of 72 px rounds to 64 or 80; one of 79 that may not exceed the region becomes 64.
    assert 0.65 < height * width / wished < 1.27
    scale = math.sqrt(wished / (region[0] * region[1]))
    if scale * min(region) >= SMALLEST_SIDE_MAP_PX:
        distortion = (height / width) / (region[0] / region[1])
        assert 0.79 < distortion < 1.26
        assert abs(height - scale * region[0]) < SIDE_MULTIPLE
        assert abs(width - scale * region[1]) < SIDE_MULTIPLE


@given(some.integers(64, 4000), sizes)
def test_a_square_region_gets_exactly_the_size(side, size):
    assert map_shape_for((side, side), size) == (min(size, side // 16 * 16),) * 2


@given(regions, sizes)
def test_a_larger_wish_never_gives_fewer_pixels(region, size):
    smaller, larger = (map_shape_for(region, wish) for wish in (size, size + 16))
    assert smaller[0] <= larger[0]
    assert smaller[1] <= larger[1]


@pytest.mark.parametrize(
    ("frame_wh", "roi", "seen_wh", "remark"),
    [
        ((4024, 3036), None, (4020, 3036), "4 columns on the right, 0 rows below"),
        ((1920, 1080), None, (1920, 1080), None),
        ((640, 261), None, (640, 261), None),
        ((1920, 1200), (101, 53, 1501, 1103), (1501, 1103), "only 16% of the inspected pixels"),
        ((1920, 1200), (101, 53, 1500, 1101), (1500, 1101), None),
    ],
)
def test_hardly_a_pixel_stays_unseen_or_it_is_said(frame_wh, roi, seen_wh, remark):
    geometry = plan_geometry((frame_wh[1], frame_wh[0], 1), roi, 256)
    assert geometry.roi_xywh_px[2:] == seen_wh
    assert (remark is None) == (geometry.remark is None)
    assert remark is None or remark in geometry.remark
    if remark and "--roi" in geometry.remark:
        assert "--roi 101,53,1500,1101" in geometry.remark


@pytest.mark.parametrize(
    "frame_wh",
    [(4024, 3036), (5472, 3648), (1936, 1216), (2064, 1544), (4112, 3008), (5320, 3032), (1456, 1088), (999, 997)],
)
@pytest.mark.parametrize("size", [128, 256, 384])
def test_of_what_cameras_deliver_nearly_every_pixel_is_seen(frame_wh, size):
    geometry = plan_geometry((frame_wh[1], frame_wh[0], 1), None, size)
    _, _, width, height = geometry.roi_xywh_px
    assert geometry.seen_share * width * height > 0.98 * frame_wh[0] * frame_wh[1]


def test_an_exact_size_is_exact():
    assert plan_geometry((261, 640, 3), None, (64, 320)).map_shape == (64, 320)
    assert plan_geometry((261, 640, 3), (10, 0, 200, 200), 128).map_shape == (128, 128)


@pytest.mark.parametrize(
    ("roi", "size", "message"),
    [
        (None, (2048, 2048), "--size 96x80 or smaller"),
        (None, (176, 192), "maps of 192x176 would enlarge the inspected region of 96 x 80 camera pixels"),
        ((0, 0, 40, 70), (64, 96), "--size 64x64 or smaller"),
        ((0, 0, 31, 64), 256, "--roi of at least 32 pixels a side"),
        ((0, 0, 0, 64), 256, "leaves the frame"),
        ((90, 0, 64, 64), 256, "leaves the frame"),
        (None, 8192, "from 64 to 4096"),
        (None, (8192, 64), "from 64 to 4096"),
        (None, 100, "divisible by 16"),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(roi, size, message):
    with pytest.raises(UsageError, match=message):
        plan_geometry((80, 96, 3), roi, size)


def test_twice_as_large_is_allowed():
    assert plan_geometry((80, 96, 3), None, (160, 192)).map_shape == (160, 192)
    assert plan_geometry((80, 96, 3), (0, 0, 32, 32), 64).map_shape == (64, 64)


@pytest.mark.parametrize(
    ("roi", "maps", "box"),
    [
        ((0, 0, 128, 128), (64, 64), 2),
        ((0, 0, 384, 320), (64, 64), 4),
        ((0, 0, 400, 400), (256, 256), 1),
        ((0, 0, 127, 131), (64, 64), 1),
        ((0, 0, 64, 64), (64, 64), 1),
        ((0, 0, 48, 48), (64, 64), 1),
        ((0, 0, 390, 195), (64, 64), 3),
    ],
)
def test_the_box_average_is_the_largest_exact_one(roi, maps, box):
    assert Geometry((400, 400, 3), roi, maps).box == box


def test_the_box_average_is_exact():
    frame = np.random.default_rng(0).integers(0, 256, (128, 192, 3), np.uint8)
    geometry = Geometry(frame.shape, (0, 0, 192, 128), (64, 96))
    slow = np.zeros((64, 96, 3))
    for row in range(64):
        for column in range(96):
            slow[row, column] = frame[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].astype(float).mean((0, 1))
    np.testing.assert_array_equal(reduce_frame(frame, geometry), slow)


@pytest.mark.parametrize(
    ("roi", "maps"),
    [
        ((-1, 0, 64, 64), (64, 64)),
        ((0, 0, 97, 64), (64, 64)),
        ((0, 0, 64, 0), (64, 64)),
        ((0, 0, 64, 64), (64, 72)),
        ((0, 0, 64, 64), (48, 64)),
    ],
)
def test_an_impossible_geometry_is_refused(roi, maps):
    with pytest.raises(UsageError):
        Geometry((80, 96, 3), roi, maps).check()
