"""`sparse`: the frame in, the same frame out, with few numbers of the bottleneck different from zero.

Ranzato et al., "Sparse feature learning for deep belief networks", 2007; L1 as in Olshausen and Field, "Emergence of
simple-cell receptive field properties by learning a sparse code for natural images", 1996: loss + weight * mean |h|. No
skips: with them the network would copy.
"""

from __future__ import annotations

from torch import Tensor

from engines.objective import Answer, Batch, Objective

WEIGHT = 0.02


class Sparse(Objective):
    """MSE + 1 - SSIM + 0.02 times the mean absolute activation of the bottleneck."""

    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        return super().loss(answer, batch) + WEIGHT * answer.bottleneck.float().abs().mean()


OBJECTIVE = Sparse
