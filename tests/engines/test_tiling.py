"""How a map is cut: everything is covered, tiles overlap enough, and the map is as large as the tiles allow."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some

from engines.errors import UsageError
from engines.reduction import map_shape_for, plan_geometry
from engines.tiling import MOST_TILES, SMALLEST_SIDE_MAP_PX, check_tiles, parse_tiles, plan_tiling

lengths = some.integers(4, 256).map(lambda sixteenths: 16 * sixteenths)
counts = some.integers(1, 8)
regions = some.tuples(some.integers(64, 6000), some.integers(64, 6000))
sizes = some.integers(4, 32).map(lambda sixteenths: 16 * sixteenths)


def tiling_of(map_shape, tiles):
    try:
        tiling = plan_tiling(map_shape, tiles)
    except UsageError:
        tiling = None
    assume(tiling is not None)
    return tiling


def cut_of(length, count):
    return tiling_of((length, 64), (count, 1)).rows


@given(lengths, some.integers(1, MOST_TILES))
def test_a_cut_covers_everything_and_overlaps_enough(length, count):
    cut = cut_of(length, count)
    assert len(cut.starts) == count
    assert (cut.starts[0], cut.starts[-1] + cut.piece) == (0, length)
    assert cut.piece % 16 == 0
    assert cut.piece >= SMALLEST_SIDE_MAP_PX
    assert all(overlap >= max(16, cut.piece / 8) for overlap in cut.overlaps)
    # No pixel lies in three pieces, so that what is stitched is a mean of two at most.
    assert all(overlap <= cut.piece / 2 for overlap in cut.overlaps)


@given(lengths, some.integers(2, MOST_TILES))
def test_pieces_are_spread_evenly_and_no_larger_than_needed(length, count):
    cut = cut_of(length, count)
    assert max(cut.overlaps) - min(cut.overlaps) <= 1
    smaller = cut.piece - 16
    assert smaller + (count - 1) * (smaller - max(16, smaller / 8)) < length


@given(lengths, lengths)
def test_one_tile_is_the_map(height, width):
    tiling = plan_tiling((height, width), (1, 1))
    assert (tiling.tile_shape, tiling.count) == ((height, width), 1)
    assert tiling.windows == ((slice(0, height), slice(0, width)),)


@settings(deadline=None)
@given(some.tuples(lengths, lengths), some.tuples(counts, counts))
def test_the_windows_cover_every_pixel(map_shape, tiles):
    tiling = tiling_of(map_shape, tiles)
    seen = np.zeros(map_shape, int)
    for window in tiling.windows:
        assert seen[window].shape == tiling.tile_shape
        seen[window] += 1
    assert len(tiling.windows) == tiling.count == tiles[0] * tiles[1]
    assert seen.min() >= 1
    assert seen.max() <= 4


@pytest.mark.parametrize(
    ("region_wh", "size", "tiles", "map_wh", "tile_wh"),
    [
        # Two tiles of 256 that share 32.
        ((4000, 4000), 256, (2, 2), (480, 480), (256, 256)),
        ((1920, 1080), 256, (2, 3), (784, 448), (288, 240)),
        ((1920, 1080), 256, (1, 2), (480, 256), (256, 256)),
        # The whole region, not enlarged.
        ((640, 261), 256, (2, 3), (640, 256), (240, 144)),
        ((4000, 200), 128, (1, 3), (704, 64), (256, 64)),
    ],
)
def test_a_tile_has_about_the_size(region_wh, size, tiles, map_wh, tile_wh):
    shape = map_shape_for(region_wh[::-1], size, tiles)
    assert shape == map_wh[::-1]
    assert plan_tiling(shape, tiles).tile_shape == tile_wh[::-1]


@given(regions, sizes, some.tuples(counts, counts))
def test_every_region_that_is_large_enough_is_cut(region, size, tiles):
    # 64 pixels for the first tile, and 32 more for each other one.
    if any(count > 1 and side < 32 * count + 32 for side, count in zip(region, tiles, strict=True)):
        with pytest.raises(UsageError, match="fewer --tiles"):
            plan_geometry((*region, 3), None, size, tiles)
        return
    geometry = plan_geometry((*region, 3), None, size, tiles)
    height, width = geometry.map_shape
    assert height <= region[0]
    assert width <= region[1]
    tile = geometry.tiling.tile_shape
    pixels = tile[0] * tile[1] / size**2
    # A side of 72 px may become 80.
    assert pixels < 1.27
    if min(height * 1.2, 4096) < region[0] and min(width * 1.2, 4096) < region[1]:
        assert pixels > 0.65
    # Where both sides are scaled alike, the aspect is off by rounding alone.
    if min(tile) > SMALLEST_SIDE_MAP_PX and max(height, width) < 4096:
        assert 0.75 < (height / width) / (region[0] / region[1]) < 1.34


@given(regions, sizes)
def test_one_tile_changes_no_size(region, size):
    assert map_shape_for(region, size, (1, 1)) == map_shape_for(region, size)
    height, width = region
    scale = min(1.0, size / math.sqrt(height * width))
    longest = scale * scale * height * width / 64
    expected = tuple(
        max(64, min(round(min(scale * side, longest) / 16) * 16, side // 16 * 16, 4096)) for side in region
    )
    assert map_shape_for(region, size) == expected


@pytest.mark.parametrize("text", ["3", "2x", "x3", "2x3x4", "-1x2", "2,3", "two"])
def test_what_is_no_tiles_is_refused(text):
    with pytest.raises(UsageError, match=r"not understood.*rows x columns, such as 2x3"):
        parse_tiles(text)


@pytest.mark.parametrize("text", ["0x2", "2x0", "0x0", "5x13", "65x1", "99999999999x99999999999"])
def test_impossible_numbers_are_refused(text):
    with pytest.raises(UsageError, match=r"--tiles .* gives .*up to 64 tiles, such as 2x3"):
        parse_tiles(text)


def test_tiles_are_rows_and_columns():
    assert parse_tiles("2x3") == (2, 3)
    check_tiles((8, 8))
    check_tiles((64, 1))


@pytest.mark.parametrize(
    ("size", "tiles", "message"),
    [
        ((128, 128), (3, 2), None),
        ((112, 128), (3, 2), r"tiles of 80 x 48 pixels; .* Give --size 128x128 or larger, or fewer --tiles"),
        ((64, 80), (1, 2), r"Give --size 96x64 or larger"),
        (64, (3, 2), r"needs more than the 200 x 120 camera pixels .* at least 200 x 128 camera pixels"),
        (64, (2, 8), r"at least 288 x 120 camera pixels"),
        (64, (9, 9), "up to 64 tiles"),
    ],
)
def test_tiles_that_are_too_small_are_refused_with_a_way_out(size, tiles, message):
    if message is None:
        assert plan_geometry((120, 200, 3), None, size, tiles).tiling.tile_shape == (64, 80)
        return
    with pytest.raises(UsageError, match=message):
        plan_geometry((120, 200, 3), None, size, tiles)
