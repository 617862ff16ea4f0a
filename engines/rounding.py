"""Quantisation-aware training: the last steps round as INT8 will, and the network learns to live with it.

After Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
2018: batch normalisation is folded into the weights first, inputs and weights are rounded in the forward pass, and the
derivative passes through the rounding. The steps are those of the TensorRT placement, the coarser of the two; only
the rounding of skips, which has the steps of the pooling beside it, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

LARGEST_CODE = 127


class RoundedConvolution(nn.Module):
    """A convolution with its batch normalisation folded in; rounds as INT8 does once its input's step is known.

    Args:
        layers: Convolution, batch normalisation and activation; not changed.
    """

    step: Tensor

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        convolution, norm, self.activation = layers
        self.conv = fuse_conv_bn_eval(cast("nn.Conv2d", convolution).eval(), cast("nn.BatchNorm2d", norm).eval())
        # 0 as long as it is not known.
        self.register_buffer("step", torch.zeros(()))
        self.rounds = False
        self.largest: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve (N, c, h, w)."""
        weight = self.conv.weight
        if self.largest is not None:
            self.largest = torch.maximum(self.largest, inputs.detach().abs().amax().float())
        if self.rounds:
            inputs = torch.fake_quantize_per_tensor_affine(
                inputs.float(), float(self.step), 0, -LARGEST_CODE - 1, LARGEST_CODE
            )
            steps = weight.detach().abs().amax(dim=(1, 2, 3)).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST_CODE
            zeros = torch.zeros_like(steps, dtype=torch.int32)
            weight = torch.fake_quantize_per_channel_affine(weight, steps, zeros, 0, -LARGEST_CODE, LARGEST_CODE)
        convolved = functional.conv2d(inputs, weight, self.conv.bias, self.conv.stride, self.conv.padding)
        activated: Tensor = self.activation(convolved)
        return activated


def fold(module: nn.Module) -> None:
    """Replace every convolution with batch normalisation and activation by its rounded form, in place."""
    for name, child in list(module.named_children()):
        kinds = [type(layer) for layer in child] if isinstance(child, nn.Sequential) else []
        if kinds[:2] == [nn.Conv2d, nn.BatchNorm2d]:
            setattr(module, name, RoundedConvolution(cast("nn.Sequential", child)))
        else:
            fold(child)


def rounded(module: nn.Module) -> Iterator[tuple[str, RoundedConvolution]]:
    """Yield the rounded convolutions of a module with their names."""
    for name, part in module.named_modules():
        if isinstance(part, RoundedConvolution):
            yield name, part


@contextmanager
def measured(module: nn.Module, known: dict[str, float]) -> Iterator[None]:
    """Measure the ranges of all inputs within the block, then let every convolution round.

    The range reaches to the largest value of all frames, as in `engines.quantize`.

    Args:
        module: A folded one; run it on frames in the block.
        known: Steps of inputs whose range is known, by name of the convolution.
    """
    for _, part in rounded(module):
        part.largest, part.rounds = torch.zeros_like(part.step), False
    yield
    for name, part in rounded(module):
        largest = cast("Tensor", part.largest).clamp(min=torch.finfo(torch.float32).tiny * LARGEST_CODE)
        part.step.copy_(torch.tensor(known.get(name, float(largest) / LARGEST_CODE)))
        part.largest, part.rounds = None, True


def steps_of(**modules: nn.Module | None) -> dict[str, float]:
    """Return the step of the input of every convolution that learned to round, by the name of its parameters."""
    return {
        f"{prefix}.{name}.conv": float(part.step)
        for prefix, module in modules.items()
        if module is not None
        for name, part in rounded(module)
    }
