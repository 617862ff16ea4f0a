"""An objective: the task by which an autoencoder learns what is normal. Nothing of it is in the exported graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engines.corruptions import Corruptor
from engines.images import Frame
from engines.losses import ReconstructionLoss
from engines.network import Autoencoder

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """What is shown and what is asked for.

    Attributes:
        shown: (n, h, w, C') uint8.
        target: (n, h, w, C') uint8.
        hidden: Where the shown frames were covered, (n, h, w) bool; None where nothing is.
    """

    shown: Frame
    target: Frame
    hidden: Mask | None = None


@dataclass(frozen=True)
class Batch:
    """A pair on the device of the training.

    Attributes:
        seen: What the core sees of the shown frames, (n, c, h, w) float32.
        target: (n, C', h, w) float32 in [0, 1].
        hidden: (n, 1, h, w) float32, 1 where covered; None where nothing is.
        seed: Of this step; for `noise`.
    """

    seen: Tensor
    target: Tensor
    hidden: Tensor | None
    seed: int

    def noise(self, like: Tensor) -> Tensor:
        """Return standard normal numbers in the shape of a tensor: the same for the same seed, on every device."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(like.shape, generator=generator).to(like.device)


@dataclass(frozen=True)
class Answer:
    """What the network made of a batch: the reconstruction (n, C', h, w), and what the objective's loss needs."""

    reconstruction: Tensor
    bottleneck: Tensor
    log_variance: Tensor | None = None


class Objective(nn.Module):
    """What the core sees, how a pair is made, and what is minimised; this base asks for the shown frame back.

    What it has of modules and optimisers is kept in the checkpoint through its state dict, and never exported.

    Args:
        channels: C', channels of the picture.
        width: Channels of the network's first level.
    """

    core_input = "picture"
    skips = False
    # Whether what is shown has defects that a head can learn to find.
    teaches_head = False

    def __init__(self, channels: int, width: int) -> None:  # noqa: ARG002, for those that have modules of their own
        super().__init__()
        self.reconstruction_loss = ReconstructionLoss()

    @classmethod
    def check(cls, channels: int) -> None:
        """Refuse pictures that this objective cannot learn from.

        Raises:
            UsageError: They have too few channels.
        """

    def pair(self, corruptor: Corruptor, seed: tuple[int, ...], count: int) -> Pair:
        """Make the pair of one step; runs in a thread of its own.

        Args:
            corruptor: Gives good frames and corrupts them.
            seed: The same numbers give the same pair.
            count: How many frames.
        """
        frames = pick_frames(corruptor, np.random.default_rng(seed), count)
        return Pair(frames, frames)

    def answer(self, network: Autoencoder, batch: Batch) -> Answer:
        """Run the network; in bfloat16 or float16 where the device has it."""
        bottleneck, skips = network.encode(batch.seen)
        return Answer(network.decode(bottleneck, skips), bottleneck)

    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        """Return the scalar to be minimised, in float32."""
        loss: Tensor = self.reconstruction_loss(answer.reconstruction.float(), batch.target)
        return loss

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of this objective that the network's optimiser trains, too."""
        return list(self.parameters())

    def learn(self, answer: Answer, batch: Batch) -> None:
        """Train what has an optimiser of its own, after the network's step."""


def pick_frames(corruptor: Corruptor, random: np.random.Generator, count: int) -> Frame:
    """Return good frames, (count, h, w, C') uint8, newly allocated."""
    return np.stack([corruptor.pick(random) for _ in range(count)])
