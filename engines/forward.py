"""Frames through a network in torch, as the exported graph does it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engines.core_inputs import CORE_INPUTS
from engines.defect_head import DefectHead
from engines.error_maps import ErrorMaps
from engines.images import Frame
from engines.network import Autoencoder
from engines.runtime import Maps

_BATCH = 4


@dataclass(frozen=True)
class Core:
    """The trained core, in evaluation mode, on the CPU.

    Attributes:
        network: The autoencoder.
        core_input: Name of what it sees.
        head: The defect head; None where none was trained.
    """

    network: Autoencoder
    core_input: str
    head: DefectHead | None = None

    def parameters(self, *, with_head: bool) -> int:
        """Count the numbers that were learned."""
        modules = [self.network, *([self.head] if with_head and self.head is not None else [])]
        return sum(parameter.numel() for module in modules for parameter in module.parameters())


def as_pictures(frames: Frame, device: str = "cpu") -> Tensor:
    """Turn (n, h, w, C') uint8 into (n, C', h, w) float32 in [0, 1] on a device, newly allocated."""
    return torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2).float().mul_(1.0 / 255.0)


@torch.no_grad()
def seen_of(frames: Frame, core_input: str) -> npt.NDArray[np.float32]:
    """Return what the core sees of frames at map size: (n, h, w, C') uint8 to (n, c, h, w) float32."""
    seen: npt.NDArray[np.float32] = CORE_INPUTS[core_input].module()(as_pictures(frames)).numpy()
    return seen


@torch.no_grad()
def error_maps_of(core: Core, errors: list[str], frames: Frame) -> Iterator[Maps]:
    """Yield the error maps before the box, (K, h, w) float32, of frames at map size, (n, h, w, C') uint8, in order."""
    core_input, error_maps = CORE_INPUTS[core.core_input].module(), ErrorMaps(errors, frames.shape[3])
    for start in range(0, len(frames), _BATCH):
        pictures = as_pictures(frames[start : start + _BATCH])
        reconstructions = core.network(core_input(pictures))
        logits = None if core.head is None else core.head(pictures, reconstructions)
        yield from error_maps(pictures, reconstructions, logits).numpy()
