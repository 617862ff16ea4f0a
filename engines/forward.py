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
from engines.rounding import steps_of
from engines.runtime import Maps
from engines.tile_planes import Cutter, Stitcher
from engines.tiling import Tiling, plan_tiling

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

    def steps(self) -> dict[str, float]:
        """Return the INT8 steps with which the network learned to live; none where it learned without rounding."""
        return steps_of(network=self.network, head=self.head)

    def parameters(self, *, with_head: bool) -> int:
        """Count the numbers that were learned."""
        modules = [self.network, *([self.head] if with_head and self.head is not None else [])]
        return sum(parameter.numel() for module in modules for parameter in module.parameters())


def as_pictures(frames: Frame, device: str = "cpu") -> Tensor:
    """Turn (n, h, w, C') uint8 into (n, C', h, w) float32 in [0, 1] on a device, newly allocated."""
    # torch warns of arrays that cannot be written to.
    writable = np.require(frames, requirements=["C", "W"])
    return torch.from_numpy(writable).to(device).permute(0, 3, 1, 2).float().mul_(1.0 / 255.0)


@torch.no_grad()
def seen_of(frames: Frame, core_input: str) -> npt.NDArray[np.float32]:
    """Return what the core sees of frames at map size: (n, h, w, C') uint8 to (n, c, h, w) float32."""
    seen: npt.NDArray[np.float32] = CORE_INPUTS[core_input].module()(as_pictures(frames)).numpy()
    return seen


@torch.no_grad()
def tiles_of(planes: npt.NDArray[np.float32], tiling: Tiling) -> npt.NDArray[np.float32]:
    """Cut planes (n, c, h, w) into the tiles that the core gets, (T x n, c, h', w')."""
    (tiles,) = Cutter(tiling)(torch.from_numpy(planes))
    found: npt.NDArray[np.float32] = tiles.numpy()
    return found


@torch.no_grad()
def error_maps_of(core: Core, errors: list[str], frames: Frame, tiling: Tiling | None = None) -> Iterator[Maps]:
    """Yield the error maps before the box, (K, h, w) float32, of frames at map size, (n, h, w, C') uint8, in order.

    Args:
        core: The network.
        errors: Names of the K error maps.
        frames: Read only.
        tiling: How the core is shown the frames; None shows them whole.
    """
    tiling = tiling or plan_tiling((frames.shape[1], frames.shape[2]), (1, 1))
    cut, stitch = Cutter(tiling), Stitcher(tiling)
    core_input, error_maps = CORE_INPUTS[core.core_input].module(), ErrorMaps(errors, frames.shape[3])
    at_once = max(1, _BATCH // tiling.count)
    for start in range(0, len(frames), at_once):
        pictures = as_pictures(frames[start : start + at_once])
        seen, shown = cut(core_input(pictures), pictures)
        found = [core.network(seen)]
        if core.head is not None:
            found.append(core.head(shown, found[0]))
        yield from error_maps(pictures, *stitch(*found)).numpy()
