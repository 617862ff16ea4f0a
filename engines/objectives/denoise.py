"""`denoise`: a frame with Gaussian noise in, the frame without out.

Vincent et al., "Stacked denoising autoencoders", 2010: x~ = x + n, n ~ N(0, sigma^2), loss of x against the answer to
x~. No skips: in use there is no noise, and with them the network would copy.
"""

from __future__ import annotations

import numpy as np

from engines.corruptions import Corruptor
from engines.images import Frame
from engines.objective import Objective, Pair, pick_frames

SIGMA = 0.1


class Denoise(Objective):
    """MSE + 1 - SSIM against the frame without the noise."""

    def pair(self, corruptor: Corruptor, seed: tuple[int, ...], count: int) -> Pair:
        random = np.random.default_rng(seed)
        frames = pick_frames(corruptor, random, count)
        return Pair(_with_noise(frames, random), frames)


def _with_noise(frames: Frame, random: np.random.Generator) -> Frame:
    noise = random.standard_normal(frames.shape, np.float32) * np.float32(SIGMA * 255)
    return np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)


OBJECTIVE = Denoise
