"""`plain`: the frame in, the same frame out, through a bottleneck.

Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks", 2006; with SSIM, Bergmann et al.,
"Improving unsupervised defect segmentation by applying structural similarity to autoencoders", 2019. No skips: with
them the network would copy.
"""

from __future__ import annotations

from engines.objective import Objective


class Plain(Objective):
    """MSE + 1 - SSIM against the frame itself."""


OBJECTIVE = Plain
