"""What training minimises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from engines.error_maps import SSIM_WINDOW, Ssim

# As in `Ssim`.
_C1, _C2 = 0.01**2, 0.03**2
_HALF = SSIM_WINDOW // 2


class ReconstructionLoss(nn.Module):
    """Mean squared error plus 1 - SSIM, one to one, against the clean picture."""

    def __init__(self) -> None:
        super().__init__()
        self.ssim = Ssim()

    def forward(self, reconstruction: Tensor, clean: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the scalar loss of (N, C', h, w) float32 pictures in [0, 1].

        Args:
            reconstruction: What the network made.
            clean: What was asked for; no derivative is taken.
            weight: How much each pixel counts, (N, 1, h, w) >= 0; None counts all the same.
        """
        share = clean.new_full((1, 1, 1, 1), 1.0 / clean.numel())
        if weight is not None:
            share = weight / (weight.sum() * clean.shape[1])
        window = self.ssim.get_buffer("window")
        loss: Tensor = _WeightedErrors.apply(reconstruction, clean, share, window)  # type: ignore[no-untyped-call]
        return loss


class _WeightedErrors(torch.autograd.Function):
    """The sum over all pixels of share * ((r - x)^2 + 1 - SSIM(x, r)), with its derivative by hand.

    By hand and in channels-last order it takes a third of the time of torch's own derivative, which was a quarter of a
    step. With G the window, m = G x, n = G r, p = G(x^2) + G(r^2), q = G(x r):
    SSIM = a1 a2 / (b1 b2), a1 = 2 m n + c1, a2 = 2 (q - m n) + c2, b1 = m^2 + n^2 + c1, b2 = p - m^2 - n^2 + c2.
    """

    @staticmethod
    def forward(ctx: Any, r: Tensor, x: Tensor, share: Tensor, window: Tensor) -> Tensor:
        moments = _blur(torch.cat([x, r, x.square(), r.square(), x * r], dim=1), window)
        m, n, xx, rr, q = (part.contiguous(memory_format=torch.channels_last) for part in moments.chunk(5, dim=1))
        product, squares = m * n, (m * m).addcmul_(n, n)
        a1, a2 = product.mul(2).add_(_C1), q.sub_(product).mul_(2).add_(_C2)
        b1, b2 = squares.add(_C1), xx.add_(rr).sub_(squares).add_(_C2)
        below = (b1 * b2).reciprocal_()
        similarity = a1 * a2 * below
        difference = r - x
        loss = (difference.square().add_(1.0).sub_(similarity) * share).sum()
        # Derivatives of the similarity by q, by G(r^2), and by n.
        by_q = a1 * below * 2
        by_rr = (similarity / b2).neg_()
        by_n = a2.sub_(a1).mul_(below).mul_(m).sub_(similarity.div_(b1).add_(by_rr).mul_(n)).mul_(2)
        ctx.save_for_backward(r, x, difference, share, window, by_n, by_rr, by_q)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        r, x, difference, share, window, *by = ctx.saved_tensors
        by_n, by_rr, by_q = _blur_back(torch.cat([part * share for part in by], dim=1), window).chunk(3, dim=1)
        of_similarity = by_n.addcmul(by_rr, r, value=2).addcmul_(by_q, x)
        return (difference * 2 * share).sub_(of_similarity).mul_(slope), None, None, None


def _blur(maps: Tensor, window: Tensor) -> Tensor:
    channels = maps.shape[1]
    # Depthwise convolutions are three times faster in this order.
    padded = functional.pad(maps.contiguous(memory_format=torch.channels_last), (_HALF,) * 4, mode="replicate")
    rows = functional.conv2d(padded, window.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return functional.conv2d(rows, window.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def _blur_back(maps: Tensor, window: Tensor) -> Tensor:
    """Return the transpose of `_blur`: the window is symmetric, and what fell on the padding belongs to the border."""
    channels, full = maps.shape[1], 2 * _HALF
    across, down = (window.reshape(shape).expand(channels, *shape[1:]) for shape in ((1, 1, 1, -1), (1, 1, -1, 1)))
    rows = functional.conv2d(
        maps.contiguous(memory_format=torch.channels_last), across, padding=(0, full), groups=channels
    )
    spread = functional.conv2d(rows, down, padding=(full, 0), groups=channels)
    inner = spread[:, :, _HALF:-_HALF]
    inner[:, :, 0] += spread[:, :, :_HALF].sum(dim=2)
    inner[:, :, -1] += spread[:, :, -_HALF:].sum(dim=2)
    result = inner[:, :, :, _HALF:-_HALF]
    result[:, :, :, 0] += inner[:, :, :, :_HALF].sum(dim=3)
    result[:, :, :, -1] += inner[:, :, :, -_HALF:].sum(dim=3)
    return result
