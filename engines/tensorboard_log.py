"""TensorBoard's view of a training: loss, learning rate, and now and then what the network makes of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from engines.forward import as_pictures
from engines.objective import Pair

PICTURE_EVERY_STEPS = 100
_MOST_FRAMES = 4
# The largest error of a good network is far below 1; the picture must show it.
_ERROR_GAIN = 5.0


class TensorboardLog:
    """Writes into a folder that `tensorboard --logdir` shows."""

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    def add(self, step: int, *, loss: float, rate: float, pair: Pair, reconstruction: Tensor) -> None:
        """Write the scalars of a step, and of every hundredth a picture."""
        self._writer.add_scalar("loss", loss, step)
        self._writer.add_scalar("learning rate", rate, step)
        if step % PICTURE_EVERY_STEPS == 0:
            self._writer.add_image("frame, shown, reconstruction, error", _side_by_side(pair, reconstruction), step)


@contextmanager
def tensorboard_log(folder: Path, *, first_step: int) -> Iterator[TensorboardLog]:
    """Open a log in a folder; what an interrupted run wrote there from `first_step` on is dropped."""
    writer = SummaryWriter(str(folder), purge_step=first_step or None)
    try:
        yield TensorboardLog(writer)
    finally:
        writer.close()


def _side_by_side(pair: Pair, reconstruction: Tensor) -> Tensor:
    """Return one row for each frame, (3 or 1, rows, columns) float32 in [0, 1], in RGB."""
    target, shown = (as_pictures(frames[:_MOST_FRAMES]) for frames in (pair.target, pair.shown))
    made = reconstruction[:_MOST_FRAMES].float().cpu().clamp(0.0, 1.0)
    error = ((target - made).abs().mean(dim=1, keepdim=True) * _ERROR_GAIN).clamp(max=1.0).expand_as(target)
    rows = torch.cat([target, shown, made, error], dim=3)
    return torch.cat(list(rows), dim=1).flip(0)
