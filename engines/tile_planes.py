"""Cuts planes into tiles and joins tiles to planes in torch: constant slices, and a ramp where two tiles meet."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engines.tiling import Cut, Tiling

_ROWS, _COLUMNS = 2, 3


class Cutter(nn.Module):
    """Whole planes to tiles along the batch."""

    def __init__(self, tiling: Tiling) -> None:
        super().__init__()
        self._tiling = tiling

    def forward(self, *planes: Tensor) -> tuple[Tensor, ...]:
        """Map planes (N, c, h, w) to their tiles, (T x N, c, h', w') each, column by column; one tile stays as it is."""
        return tuple(self._cut(each) for each in planes)

    def _cut(self, planes: Tensor) -> Tensor:
        for axis, cut in ((_ROWS, self._tiling.rows), (_COLUMNS, self._tiling.columns)):
            if len(cut.starts) > 1:
                planes = torch.cat([planes.narrow(axis, start, cut.piece) for start in cut.starts])
        return planes


class Stitcher(nn.Module):
    """Tiles along the batch to whole planes.

    Where two tiles overlap, the weight of the one falls linearly as that of the other rises. It is computed as
    a + (b - a) x weight: where both say the same, so does the whole, bit by bit.
    """

    def __init__(self, tiling: Tiling) -> None:
        super().__init__()
        self._tiling = tiling
        for axis, cut in self._axes():
            for index, overlap in enumerate(cut.overlaps):
                ramp = (torch.arange(overlap, dtype=torch.float32) + 0.5) / overlap
                shape = (-1, 1) if axis == _ROWS else (1, -1)
                self.register_buffer(f"ramp_{axis}_{index}", ramp.reshape(shape), persistent=False)

    def forward(self, *tiles: Tensor) -> tuple[Tensor, ...]:
        """Map tiles (T x N, c, h', w'), as `Cutter` makes them, to planes (N, c, h, w)."""
        return tuple(self._stitch(each) for each in tiles)

    def _axes(self) -> tuple[tuple[int, Cut], ...]:
        return (_COLUMNS, self._tiling.columns), (_ROWS, self._tiling.rows)

    def _stitch(self, tiles: Tensor) -> Tensor:
        for axis, cut in self._axes():
            if len(cut.starts) > 1:
                tiles = self._join(tiles, axis, cut)
        return tiles

    def _join(self, tiles: Tensor, axis: int, cut: Cut) -> Tensor:
        count = tiles.shape[0] // len(cut.starts)
        strips = [tiles.narrow(0, index * count, count) for index in range(len(cut.starts))]
        joined, begin = [], 0
        for index, overlap in enumerate(cut.overlaps):
            end = cut.piece - overlap
            if begin < end:
                joined.append(strips[index].narrow(axis, begin, end - begin))
            falling, rising = strips[index].narrow(axis, end, overlap), strips[index + 1].narrow(axis, 0, overlap)
            joined.append(falling + (rising - falling) * self.get_buffer(f"ramp_{axis}_{index}"))
            begin = overlap
        joined.append(strips[-1].narrow(axis, begin, cut.piece - begin))
        return torch.cat(joined, dim=axis)
