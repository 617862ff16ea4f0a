"""What both networks are built of: layers that TensorRT runs in INT8."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


def convolution(inputs: int, outputs: int, side: int = 3) -> nn.Sequential:
    """Return a convolution with a window of `side`, batch normalisation (folded into it at export) and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def enlarge(level: Tensor) -> Tensor:
    """Double both sides by repeating values: unlike a transposed convolution, it runs in INT8."""
    return functional.interpolate(level, scale_factor=2.0, mode="nearest")
