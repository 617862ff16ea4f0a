"""How a map is cut into overlapping tiles: each is as large as the network is meant for, and all go through it at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product

from engines.errors import UsageError

# What the network can take: it halves a tile four times.
SIDE_MULTIPLE = 16
SMALLEST_SIDE_MAP_PX = 64
MOST_TILES = 64
_LEAST_OVERLAP_MAP_PX = 16
# One eighth of a tile's side, at least, is seen by the next tile, too.
_OVERLAP_DIVISOR = 8

Tiles = tuple[int, int]


@dataclass(frozen=True)
class Cut:
    """One side of a map, cut into equal pieces that overlap; no pixel lies in more than two of them.

    Attributes:
        length: Of the side in map pixels.
        piece: Length of each piece.
        starts: Where each piece begins: the first at 0, and the last one ends where the side does.
    """

    length: int
    piece: int
    starts: tuple[int, ...]

    @property
    def overlaps(self) -> tuple[int, ...]:
        """How many pixels each piece shares with the next one."""
        return tuple(self.piece - (after - start) for start, after in pairwise(self.starts))


@dataclass(frozen=True)
class Tiling:
    """A map cut along both sides.

    Attributes:
        rows: How its height is cut.
        columns: How its width is cut.
    """

    rows: Cut
    columns: Cut

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.rows.starts) * len(self.columns.starts)

    @property
    def tile_shape(self) -> tuple[int, int]:
        """(h, w) of each tile in map pixels."""
        return self.rows.piece, self.columns.piece

    @cached_property
    def windows(self) -> tuple[tuple[slice, slice], ...]:
        """Rows and columns of each tile in the map."""
        (height, width), starts = self.tile_shape, product(self.rows.starts, self.columns.starts)
        return tuple((slice(top, top + height), slice(left, left + width)) for top, left in starts)


def plan_tiling(map_shape: tuple[int, int], tiles: Tiles) -> Tiling:
    """Cut a map into the smallest tiles that overlap enough, spread evenly.

    Args:
        map_shape: (h, w), both multiples of 16.
        tiles: Number of rows and of columns.

    Raises:
        UsageError: The numbers are not possible, or a tile would be smaller than 64 pixels.
    """
    check_tiles(tiles)
    rows, columns = (_cut(length, count) for length, count in zip(map_shape, tiles, strict=True))
    if min(rows.piece, columns.piece) < SMALLEST_SIDE_MAP_PX:
        least = [max(side, _smallest_length(count)) for side, count in zip(map_shape, tiles, strict=True)]
        raise UsageError(
            f"--tiles {tiles[0]}x{tiles[1]} cuts maps of {map_shape[1]}x{map_shape[0]} into tiles of {columns.piece} x "
            f"{rows.piece} pixels; the network needs {SMALLEST_SIDE_MAP_PX} x {SMALLEST_SIDE_MAP_PX}.",
            fix=f"Give --size {least[1]}x{least[0]} or larger, or fewer --tiles.",
        )
    return Tiling(rows, columns)


def parse_tiles(text: str) -> Tiles:
    """Read `RxC` as (rows, columns).

    Raises:
        UsageError: It is not of this form, or the numbers are not possible.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise UsageError(f"--tiles {text} is not understood.", fix="Give rows x columns, such as 2x3.")
    tiles = int(match[1]), int(match[2])
    check_tiles(tiles)
    return tiles


def check_tiles(tiles: Tiles) -> None:
    """Refuse numbers of rows and columns that make no tiles.

    Raises:
        UsageError: There is none, or there are more than 64.
    """
    rows, columns = tiles
    if min(tiles) < 1 or rows * columns > MOST_TILES:
        what = "no tiles" if min(tiles) < 1 else f"{rows * columns} tiles, each of which takes a pass of the network"
        raise UsageError(
            f"--tiles {rows}x{columns} gives {what}.",
            fix=f"Give 1x1, which is one tile, up to {MOST_TILES} tiles, such as 2x3.",
        )


def check_region(region_shape: tuple[int, int], tiles: Tiles) -> None:
    """Refuse a region that has too few pixels for its tiles, since maps are not enlarged.

    Raises:
        UsageError: A side is too short.
    """
    least = [_smallest_length(count) if count > 1 else 1 for count in tiles]
    if any(side < needed for side, needed in zip(region_shape, least, strict=True)):
        height, width = (max(side, needed) for side, needed in zip(region_shape, least, strict=True))
        raise UsageError(
            f"--tiles {tiles[0]}x{tiles[1]} needs more than the {region_shape[1]} x {region_shape[0]} camera pixels of "
            f"the inspected region: a tile has at least {SMALLEST_SIDE_MAP_PX} x {SMALLEST_SIDE_MAP_PX} of them.",
            fix=f"Give fewer --tiles, or inspect at least {width} x {height} camera pixels.",
        )


def span_of(count: int) -> float:
    """Return how long a side is, in pieces, that so many pieces with the least overlap cover."""
    return 1.0 + (count - 1) * (1.0 - 1.0 / _OVERLAP_DIVISOR)


def longest_length(piece: int, count: int) -> int:
    """Return the longest side, a multiple of 16, that so many pieces cover."""
    return _covered(piece, count) // SIDE_MULTIPLE * SIDE_MULTIPLE


def _cut(length: int, count: int) -> Cut:
    piece = length
    if count > 1:
        piece = SIDE_MULTIPLE
        while _covered(piece, count) < length:
            piece += SIDE_MULTIPLE
    room, gaps = length - piece, max(1, count - 1)
    return Cut(length, piece, tuple(round(index * room / gaps) for index in range(count)))


def _covered(piece: int, count: int) -> int:
    overlap = max(_LEAST_OVERLAP_MAP_PX, -(-piece // _OVERLAP_DIVISOR))
    return piece + (count - 1) * (piece - overlap)


def _smallest_length(count: int) -> int:
    """Return the shortest side, a multiple of 16, whose pieces have 64 pixels."""
    if count == 1:
        return SMALLEST_SIDE_MAP_PX
    return longest_length(SMALLEST_SIDE_MAP_PX - SIDE_MULTIPLE, count) + SIDE_MULTIPLE
