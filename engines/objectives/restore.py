"""`restore`: the edges of a corrupted frame in, the clean frame in colour out.

FAIR (Liu et al., "Simple and effective frequency-aware image restoration for industrial visual anomaly detection",
2023) and EdgRec (Liu et al., "Reconstruction from edge image combined with color and gradient difference for industrial
surface anomaly detection", 2022). Skips do no harm: edges carry neither colour nor brightness.
"""

from __future__ import annotations

from engines.corruptions import Corruptor
from engines.objective import Objective, Pair


class Restore(Objective):
    """MSE + 1 - SSIM against the clean frame."""

    core_input = "edges"
    skips = True
    teaches_head = True

    def pair(self, corruptor: Corruptor, seed: tuple[int, ...], count: int) -> Pair:
        return Pair(*corruptor.batch(seed, count))


OBJECTIVE = Restore
