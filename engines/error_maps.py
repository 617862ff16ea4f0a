"""Error maps: how far the reconstruction is from the frame, per pixel. All work on pictures in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.defect_head import doubt
from engines.errors import UsageError

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2
MSGMS_C = 0.0026
MOST_MAPS = 3
LEARNED = "learned"
_PREWITT = ((1.0, 0.0, -1.0), (1.0, 0.0, -1.0), (1.0, 0.0, -1.0))
_TINY = 1e-12


class L2(nn.Module):
    """Mean over the channels of the squared difference."""

    def forward(self, picture: Tensor, reconstruction: Tensor) -> Tensor:
        """Map two (N, C', h, w) to (N, 1, h, w), >= 0."""
        return (picture - reconstruction).square().mean(dim=1, keepdim=True)


class Ssim(nn.Module):
    """Structural similarity of Wang et al. 2004, Gaussian window 11, sigma 1.5; the map is 1 - SSIM, at least 0."""

    def __init__(self) -> None:
        super().__init__()
        half = SSIM_WINDOW // 2
        window = torch.tensor([math.exp(-0.5 * (i / SSIM_SIGMA) ** 2) for i in range(-half, half + 1)])
        self.register_buffer("window", window / window.sum(), persistent=False)

    def similarity(self, picture: Tensor, reconstruction: Tensor) -> Tensor:
        """Map two (N, C', h, w) to their SSIM, (N, C', h, w); the border is repeated outwards."""
        moments = torch.cat(
            [picture, reconstruction, picture.square(), reconstruction.square(), picture * reconstruction], dim=1
        )
        mean_x, mean_y, xx, yy, xy = self._blur(moments).chunk(5, dim=1)
        variances = (xx - mean_x.square()) + (yy - mean_y.square())
        covariance = xy - mean_x * mean_y
        above = (2 * mean_x * mean_y + _SSIM_C1) * (2 * covariance + _SSIM_C2)
        return above / ((mean_x.square() + mean_y.square() + _SSIM_C1) * (variances + _SSIM_C2))

    def forward(self, picture: Tensor, reconstruction: Tensor) -> Tensor:
        """Map two (N, C', h, w) to (N, 1, h, w) in [0, 2]."""
        return (1.0 - self.similarity(picture, reconstruction)).mean(dim=1, keepdim=True).clamp(min=0.0)

    def _blur(self, maps: Tensor) -> Tensor:
        half, count = SSIM_WINDOW // 2, maps.shape[1]
        window: Tensor = self.get_buffer("window")
        padded = functional.pad(maps, (half, half, half, half), mode="replicate")
        rows = functional.conv2d(padded, window.reshape(1, 1, -1, 1).expand(count, 1, -1, 1), groups=count)
        return functional.conv2d(rows, window.reshape(1, 1, 1, -1).expand(count, 1, 1, -1), groups=count)


class Msgms(nn.Module):
    """1 - gradient magnitude similarity, mean over channels and two scales (RIAD, Zavrtanik et al. 2021)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        across = torch.tensor(_PREWITT) / 3.0
        kernels = torch.stack([across, across.T]).unsqueeze(1)
        self.register_buffer("kernels", kernels.repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, picture: Tensor, reconstruction: Tensor) -> Tensor:
        """Map two (N, C', h, w) with even sides to (N, 1, h, w) in [0, 1]."""
        fine = self._dissimilarity(picture, reconstruction)
        coarse = self._dissimilarity(functional.avg_pool2d(picture, 2), functional.avg_pool2d(reconstruction, 2))
        risen = functional.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
        return ((fine + risen) * 0.5).clamp(min=0.0)

    def _dissimilarity(self, picture: Tensor, reconstruction: Tensor) -> Tensor:
        a, b = self._gradient(picture), self._gradient(reconstruction)
        similarity = (2.0 * a * b + MSGMS_C) / (a.square() + b.square() + MSGMS_C)
        return (1.0 - similarity).mean(dim=1, keepdim=True)

    def _gradient(self, picture: Tensor) -> Tensor:
        padded = functional.pad(picture, (1, 1, 1, 1), mode="replicate")
        slopes = functional.conv2d(padded, self.get_buffer("kernels"), groups=picture.shape[1]).square()
        return (slopes[:, 0::2] + slopes[:, 1::2] + _TINY).sqrt()


ERROR_MAPS: dict[str, Callable[[int], nn.Module]] = {
    "l2": lambda _: L2(),
    "ssim": lambda _: Ssim(),
    "msgms": Msgms,
}


def error_map_names() -> list[str]:
    """Return the names of all error maps."""
    return [*ERROR_MAPS, LEARNED]


def check_error_maps(names: Sequence[str]) -> None:
    """Refuse names that make no set of error maps.

    Raises:
        UsageError: A name is unknown or given twice, or there are none or more than three.
    """
    unknown = [name for name in names if name not in error_map_names()]
    if unknown or not 1 <= len(names) <= MOST_MAPS or len(set(names)) != len(names):
        raise UsageError(
            f"--errors {','.join(names)} is not possible.",
            fix=f"Give one to three different ones of {', '.join(error_map_names())}.",
        )


class ErrorMaps(nn.Module):
    """The named error maps, stacked.

    Args:
        names: Any of `error_map_names()`; `learned` needs the logits of a defect head.
        channels: C', channels of the picture.
    """

    def __init__(self, names: Sequence[str], channels: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.modules_by_name = nn.ModuleDict({name: ERROR_MAPS[name](channels) for name in names if name != LEARNED})

    def forward(self, picture: Tensor, reconstruction: Tensor, logits: Tensor | None = None) -> Tensor:
        """Map two pictures (N, C', h, w) and the head's logits (N, 1, h, w) to (N, K, h, w), >= 0."""
        planes = [
            doubt(logits)
            if name == LEARNED and logits is not None
            else self.modules_by_name[name](picture, reconstruction)
            for name in self.names
        ]
        return torch.cat(planes, dim=1)
