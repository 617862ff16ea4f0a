"""`colorize`: the grey picture in, the colours out.

Zhang et al., "Colorful image colorization", 2016, with the loss that all objectives share instead of its classes of
colour. Skips do no harm to the colours; a defect that differs in brightness only is copied and not found.
"""

from __future__ import annotations

from engines.errors import UsageError
from engines.objective import Objective


class Colorize(Objective):
    """MSE + 1 - SSIM against the frame in colour."""

    core_input = "grey"
    skips = True

    @classmethod
    def check(cls, channels: int) -> None:
        if channels == 1:
            raise UsageError(
                "--objective colorize has nothing to learn: the images are grey.",
                fix="Record them in colour, or give another objective, such as restore.",
            )


OBJECTIVE = Colorize
