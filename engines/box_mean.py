"""The box mean: smooths error maps, and is what a high-pass subtracts."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def box_mean(maps: Tensor, box: int) -> Tensor:
    """Average over a box x box window; at the border only over the pixels that exist.

    Args:
        maps: (N, C, h, w) float32.
        box: Odd side of the window.

    Returns:
        The same shape. Two one-dimensional passes give the two-dimensional mean exactly and cost box / 2 times less.
    """
    if box == 1:
        return maps
    rows = functional.avg_pool2d(maps, (box, 1), 1, (box // 2, 0), count_include_pad=False)
    return functional.avg_pool2d(rows, (1, box), 1, (0, box // 2), count_include_pad=False)
