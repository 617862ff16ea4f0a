"""`contractive`: the frame in, the same frame out, while a change of the frame may hardly change the bottleneck.

Rifai et al., "Contractive auto-encoders: explicit invariance during feature extraction", 2011: loss + weight * ||J||_F^2
with the encoder's Jacobian J. It is estimated by Hutchinson's projections ("A stochastic estimator of the trace of the
influence matrix", 1990): E ||J^T v||^2 = ||J||_F^2 for v ~ N(0, I); one v a frame and step. No skips: with them the
network would copy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engines.network import Autoencoder
from engines.objective import Answer, Batch, Objective

WEIGHT = 0.02


class Contractive(Objective):
    """MSE + 1 - SSIM + 0.02 times the squared norm of the Jacobian over the size of the bottleneck."""

    def answer(self, network: Autoencoder, batch: Batch) -> Answer:
        batch.seen.requires_grad_()
        return super().answer(network, batch)

    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        return super().loss(answer, batch) + WEIGHT * squared_norm_of_jacobian(answer.bottleneck, batch)


def squared_norm_of_jacobian(bottleneck: Tensor, batch: Batch) -> Tensor:
    """Estimate ||d bottleneck / d seen||_F^2 over the number of bottleneck values, scalar; it can be derived again."""
    projection = batch.noise(bottleneck)
    (slope,) = torch.autograd.grad((bottleneck.float() * projection).sum(), batch.seen, create_graph=True)
    return slope.float().square().sum() / bottleneck.numel()


OBJECTIVE = Contractive
