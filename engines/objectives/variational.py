"""`variational`: the frame in, the same frame out, through a bottleneck that is a distribution.

Kingma and Welling, "Auto-encoding variational Bayes", 2014: z = mean + exp(log variance / 2) * n, n ~ N(0, I), and
KL = 1/2 sum(mean^2 + variance - 1 - log variance) to N(0, I). The mean is the bottleneck as it is (after its ReLU, so
not negative); the log variance is a layer of its own that only training has: in use the mean is decoded. With pixels
of variance s^2 the KL over the number of pixels weighs 2 s^2. No skips: with them the network would copy.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engines.network import Autoencoder
from engines.objective import Answer, Batch, Objective

PIXEL_SIGMA = 0.1
# exp() of more would not be finite in the narrower formats.
_LARGEST_LOG_VARIANCE = 8.0


class Variational(Objective):
    """MSE + 1 - SSIM + 2 s^2 KL over the number of pixels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width)
        self.log_variance = nn.Conv2d(4 * width, 4 * width, 1)
        nn.init.zeros_(self.log_variance.weight)
        nn.init.constant_(self.log_variance.bias, -4.0)  # type: ignore[arg-type]

    def answer(self, network: Autoencoder, batch: Batch) -> Answer:
        mean, skips = network.encode(batch.seen)
        log_variance = self.log_variance(mean).float().clamp(-_LARGEST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE)
        drawn = mean + torch.exp(0.5 * log_variance) * batch.noise(mean)
        return Answer(network.decode(drawn, skips), mean, log_variance)

    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        if answer.log_variance is None:
            raise TypeError("the answer of another objective")
        divergence = kl_to_standard_normal(answer.bottleneck.float(), answer.log_variance)
        return super().loss(answer, batch) + 2 * PIXEL_SIGMA**2 * divergence / batch.target.numel()


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the sum over all elements of KL(N(mean, variance) || N(0, 1)), scalar."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum()


OBJECTIVE = Variational
