"""`adversarial`: the frame in, the same frame out, and a second network must not tell the two apart.

Akcay et al., "GANomaly: semi-supervised anomaly detection via adversarial training", 2018 (a reconstruction weighs 50
times as much as the adversary); the adversary looks at patches, as in Isola et al., "Image-to-image translation with
conditional adversarial networks", 2017; least squares after Mao et al., "Least squares generative adversarial networks",
2017: D minimises 1/2 (D(x) - 1)^2 + 1/2 D(r)^2, the autoencoder adds 1/2 (D(r) - 1)^2. No skips: with them the network
would copy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engines.objective import Answer, Batch, Objective

WEIGHT = 0.02
_LEARNING_RATE = 2e-4
_BETAS = (0.5, 0.999)
_SLOPE = 0.2


class Adversarial(Objective):
    """MSE + 1 - SSIM + 0.02 times the least-squares loss of passing for a real frame, patch by patch."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width)
        self.discriminator = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(2 * width, 4 * width, 4, 2, 1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(4 * width, 1, 3, 1, 1),
        )
        self.optimiser = torch.optim.Adam(self.discriminator.parameters(), lr=_LEARNING_RATE, betas=_BETAS)

    def shared_parameters(self) -> list[nn.Parameter]:
        return []

    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        # Its own weights learn in `learn`, from the opposite wish.
        self.discriminator.requires_grad_(requires_grad=False)
        opinion: Tensor = self.discriminator(answer.reconstruction.float())
        return super().loss(answer, batch) + WEIGHT * 0.5 * (opinion - 1.0).square().mean()

    def learn(self, answer: Answer, batch: Batch) -> None:
        self.discriminator.requires_grad_(requires_grad=True)
        loss = self.discriminator_loss(answer.reconstruction.detach().float(), batch.target)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def discriminator_loss(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return what the discriminator minimises, scalar."""
        real, made = self.discriminator(target), self.discriminator(reconstruction)
        loss: Tensor = 0.5 * (real - 1.0).square().mean() + 0.5 * made.square().mean()
        return loss

    def get_extra_state(self) -> dict[str, Any]:
        """Return the optimiser's state, for the checkpoint."""
        return self.optimiser.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the optimiser's state from a checkpoint."""
        self.optimiser.load_state_dict(state)


OBJECTIVE = Adversarial
