"""What training minimises."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from engines.error_maps import Ssim


class ReconstructionLoss(nn.Module):
    """Mean squared error plus 1 - SSIM, one to one, against the clean picture."""

    def __init__(self) -> None:
        super().__init__()
        self.ssim = Ssim()

    def forward(self, reconstruction: Tensor, clean: Tensor) -> Tensor:
        """Return the scalar loss of (N, C', h, w) float32 pictures in [0, 1]."""
        return functional.mse_loss(reconstruction, clean) + 1.0 - self.ssim.similarity(clean, reconstruction).mean()
