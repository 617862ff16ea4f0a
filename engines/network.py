"""The autoencoder: it must remember what it cannot see of a part.

FAIR / EdgRec family: by default the input is the gradient of the grey picture, so that a defect's colour and brightness
cannot be copied through, and skip connections do no harm. Levels w, 2w, 4w, 4w; 1.5 GMAC at 256 x 256 and w = 32.
What it sees and whether it has skips is for the objective to decide (`engines.objectives`).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from engines.layers import add, convolution, enlarge


class _Rise(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, window: int) -> None:
        super().__init__()
        self.enter = convolution(inputs, outputs, window)
        self.mix = convolution(outputs, outputs)

    def forward(self, deep: Tensor, skip: Tensor | None) -> Tensor:
        risen: Tensor = self.enter(enlarge(deep))
        mixed: Tensor = self.mix(risen if skip is None else add(risen, skip))
        return mixed


class Autoencoder(nn.Module):
    """The core: what it sees (N, c, h, w) to the reconstruction (N, C', h, w), meant to lie in [0, 1].

    h and w must be divisible by 16. The stem is a 6x6 convolution with stride 2, the same map as a 2x2
    space-to-depth and a 3x3 convolution; the last convolution works at half resolution.

    Args:
        channels: C', channels of the picture.
        width: Channels of the first level.
        inputs: c, channels of what the core sees.
        skips: Each level of the decoder is given what the encoder's level of the same size found, too. Without them
            everything passes the bottleneck.
    """

    def __init__(self, channels: int, *, width: int, inputs: int = 1, skips: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(inputs, width, 6, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(inplace=True),
        )
        levels = [width, 2 * width, 4 * width, 4 * width]
        pairs = list(pairwise(levels))
        self.falls = nn.ModuleList(nn.Sequential(convolution(a, b), convolution(b, b)) for a, b in pairs)
        # At the finest level a 3x3 window there would cost as much as the rest of the decoder's levels together.
        self.rises = nn.ModuleList(_Rise(b, a, window=3 if a > width else 1) for a, b in reversed(pairs))
        self.last = nn.Conv2d(width, 4 * channels, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        self.skips = skips
        nn.init.constant_(self.last.bias, 0.5)  # type: ignore[arg-type]

    def encode(self, seen: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the bottleneck (N, 4 w, h / 16, w / 16), >= 0, and the skips, shallow first; none without skips."""
        level: Tensor = self.stem(seen)
        skips = []
        for fall in self.falls:
            skips.append(level)
            level = fall(functional.max_pool2d(level, 2))
        return level, skips if self.skips else []

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Return the reconstruction of what `encode` found."""
        level, left = bottleneck, list(skips)
        for rise in self.rises:
            level = rise(level, left.pop() if left else None)
        picture: Tensor = self.shuffle(self.last(level))
        return picture

    def forward(self, seen: Tensor) -> Tensor:
        """Rebuild the picture from what the core sees of it."""
        return self.decode(*self.encode(seen))
