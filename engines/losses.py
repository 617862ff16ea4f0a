"""What training minimises."""

from __future__ import annotations

from torch import Tensor, nn

from engines.error_maps import Ssim


class ReconstructionLoss(nn.Module):
    """Mean squared error plus 1 - SSIM, one to one, against the clean picture."""

    def __init__(self) -> None:
        super().__init__()
        self.ssim = Ssim()

    def forward(self, reconstruction: Tensor, clean: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the scalar loss of (N, C', h, w) float32 pictures in [0, 1].

        Args:
            reconstruction: What the network made.
            clean: What was asked for.
            weight: How much each pixel counts, (N, 1, h, w) >= 0; None counts all the same.
        """
        errors = (reconstruction - clean).square() + 1.0 - self.ssim.similarity(clean, reconstruction)
        if weight is None:
            return errors.mean()
        return (errors * weight).sum() / (weight.sum() * errors.shape[1])
