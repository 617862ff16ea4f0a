"""`inpaint`: a frame with rectangles cut out in, the whole frame out.

Pathak et al., "Context encoders: feature learning by inpainting", 2016; for anomalies, Zavrtanik et al.,
"Reconstruction by inpainting for visual anomaly detection" (RIAD), 2021, which needs 12 passes for a frame; here it is
one, of the frame without holes. No skips: without holes the network would copy.
"""

from __future__ import annotations

import numpy as np

from engines.corruptions import Corruptor
from engines.objective import Mask, Objective, Pair, pick_frames

MOST_RECTANGLES = 6
SMALLEST, LARGEST = 0.05, 0.35
_MIDDLE_CODE = 128


class Inpaint(Objective):
    """MSE + 1 - SSIM against the whole frame."""

    def pair(self, corruptor: Corruptor, seed: tuple[int, ...], count: int) -> Pair:
        random = np.random.default_rng(seed)
        frames = pick_frames(corruptor, random, count)
        hidden = np.stack([_rectangles(random, frames.shape[1:3]) for _ in frames])
        shown = np.where(hidden[..., None], np.uint8(_MIDDLE_CODE), frames)
        return Pair(shown, frames, hidden)


def _rectangles(random: np.random.Generator, shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, np.bool_)
    for _ in range(random.integers(1, MOST_RECTANGLES + 1)):
        height, width = (max(1, int(side * random.uniform(SMALLEST, LARGEST))) for side in shape)
        top, left = random.integers(shape[0] - height + 1), random.integers(shape[1] - width + 1)
        mask[top : top + height, left : left + width] = True
    return mask


OBJECTIVE = Inpaint
