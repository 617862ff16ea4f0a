"""The defect head: a second, small network that learns to tell defects from what varies on good parts.

It compares the frame with its reconstruction, as the discriminative network of DRAEM does (Zavrtanik et al., "DRAEM: a
discriminatively trained reconstruction embedding for surface anomaly detection", 2021), and practises on the same
corruptions as the autoencoder. Where the part has a texture that cannot be rebuilt, every good pixel has a large error,
and only this tells which errors matter. Levels w, 2w, 4w, 4w, maps at a quarter of the size; 0.9 GMAC at 256 x 256 and
w = 32.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.layers import add, convolution, enlarge

# Where the head is sure of a good pixel its logit is about -6; the map of its doubts begins a little above that.
_DOUBT_LOGIT = -4.0
_FIRST_LOGIT = -3.0
_SHRINK = 4
# Codes are centred as in `engines.core_inputs`: an INT8 step of 1/128 keeps all of them.
_CODES, _MIDDLE_CODE = 255.0, 128.0
# A change of 15 codes counts as two thirds of a defect.
_SOFTNESS = 0.06


class DefectHead(nn.Module):
    """Frame and reconstruction to logits of a defect.

    Args:
        channels: C', channels of the picture.
        width: Channels of the first level.
    """

    def __init__(self, channels: int, *, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(2 * channels, width, 6, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(inplace=True),
        )
        levels = [width, 2 * width, 4 * width, 4 * width]
        self.falls = nn.ModuleList(nn.Sequential(convolution(a, b), convolution(b, b)) for a, b in pairwise(levels))
        self.enters = nn.ModuleList([convolution(4 * width, 4 * width, 1), convolution(4 * width, 2 * width, 1)])
        self.mix = convolution(2 * width, 2 * width)
        self.last = nn.Conv2d(2 * width, _SHRINK * _SHRINK, 3, padding=1)
        self.shuffle = nn.PixelShuffle(_SHRINK)
        nn.init.constant_(self.last.bias, _FIRST_LOGIT)  # type: ignore[arg-type]

    def forward(self, picture: Tensor, reconstruction: Tensor) -> Tensor:
        """Map two (N, C', h, w) pictures in [0, 1] to logits (N, 1, h, w)."""
        both = torch.cat([picture, reconstruction.clamp(0.0, 1.0)], dim=1)
        level: Tensor = self.stem(both * (_CODES / _MIDDLE_CODE) - 1.0)
        levels = []
        for fall in self.falls:
            level = fall(functional.max_pool2d(level, 2))
            levels.append(level)
        fine, middle, deep = levels
        middle = add(self.enters[0](enlarge(deep)), middle)
        fine = add(self.enters[1](enlarge(middle)), fine)
        logits: Tensor = self.shuffle(self.last(self.mix(fine)))
        return logits


def doubt(logits: Tensor) -> Tensor:
    """Turn logits into an error map, (N, 1, h, w), >= 0: near 0 where the head is sure of a good pixel."""
    return functional.softplus(logits - _DOUBT_LOGIT)


def head_loss(logits: Tensor, shown: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy between the head's answer and how far a corruption changed each pixel.

    The label is soft, 1 - exp(-d / 0.06) with d the mean absolute change of the channels: after NSA (Schlueter et al.,
    "Natural synthetic anomalies for self-supervised anomaly detection and localization", 2022), so that what hardly
    shows is hardly asked for.

    Args:
        logits: (N, 1, h, w) float32.
        shown: Corrupted pictures, (N, C', h, w) in [0, 1].
        target: The clean ones.
    """
    change = (shown - target).abs().mean(dim=1, keepdim=True)
    return functional.binary_cross_entropy_with_logits(logits, 1.0 - torch.exp(change / -_SOFTNESS))
