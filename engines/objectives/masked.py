"""`masked`: most of the frame hidden by square patches, the hidden ones are to be guessed.

He et al., "Masked autoencoders are scalable vision learners", 2022, and, for networks that see the whole grid, Xie et
al., "SimMIM: a simple framework for masked image modeling", 2022: patches of fixed size, the loss on hidden ones. The
hidden share varies around theirs and visible patches keep a small weight, since in use nothing is hidden. No skips:
then the network would copy.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from engines.corruptions import Corruptor
from engines.objective import Answer, Batch, Mask, Objective, Pair, pick_frames

PATCH_MAP_PX = 16
SMALLEST_SHARE, LARGEST_SHARE = 0.4, 0.9
VISIBLE_WEIGHT = 0.1
_MIDDLE_CODE = 128


class Masked(Objective):
    """MSE + 1 - SSIM against the whole frame, hidden pixels weighing ten times as much as visible ones."""

    def pair(self, corruptor: Corruptor, seed: tuple[int, ...], count: int) -> Pair:
        random = np.random.default_rng(seed)
        frames = pick_frames(corruptor, random, count)
        hidden = np.stack([_patches(random, frames.shape[1:3]) for _ in frames])
        shown = np.where(hidden[..., None], np.uint8(_MIDDLE_CODE), frames)
        return Pair(shown, frames, hidden)

    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        weight = None if batch.hidden is None else batch.hidden + VISIBLE_WEIGHT * (1.0 - batch.hidden)
        loss: Tensor = self.reconstruction_loss(answer.reconstruction.float(), batch.target, weight)
        return loss


def _patches(random: np.random.Generator, shape: tuple[int, ...]) -> Mask:
    rows, columns = (-(-side // PATCH_MAP_PX) for side in shape)
    count = round(rows * columns * random.uniform(SMALLEST_SHARE, LARGEST_SHARE))
    grid = np.zeros(rows * columns, np.bool_)
    grid[random.permutation(rows * columns)[:count]] = True
    patches = grid.reshape(rows, columns).repeat(PATCH_MAP_PX, axis=0).repeat(PATCH_MAP_PX, axis=1)
    return patches[: shape[0], : shape[1]]


OBJECTIVE = Masked
