"""The training loop: pairs of corrupted and clean frames in, a network that takes corruption away out."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from engines.corruptions import Corruptor
from engines.error_maps import make_error_maps
from engines.images import Frame
from engines.losses import ReconstructionLoss
from engines.network import Autoencoder, EdgeFilter
from engines.runtime import Maps

OBJECTIVE = "mse+ssim"
TIMED_STEPS = 20
_LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 1e-4
_BATCH_OF_INFERENCE = 4
_PIXELS_WORTH_THREADS = 8 * 128 * 128


@dataclass(frozen=True)
class Schedule:
    """How long and how to train.

    Attributes:
        steps: Number of steps; None where `minutes` decides.
        minutes: Time to train; the first 20 steps are timed and fix the number of steps.
        batch: Pairs a step.
        seed: Fixes the first weights and every batch.
        width: Channels of the first level.
    """

    steps: int | None
    minutes: float | None
    batch: int
    seed: int
    width: int


@dataclass
class Trained:
    """A network and how it came to be. `losses` holds the mean loss of each tenth of the steps, or fewer."""

    network: Autoencoder
    steps: int
    seconds: float
    bf16: bool
    losses: list[float] = field(default_factory=list)


def train(pictures: Frame, schedule: Schedule, *, rotates: bool) -> Trained:
    """Train a network on good frames.

    Args:
        pictures: Good frames at map size, (n, h, w, C') uint8; may be memory-mapped; read only.
        schedule: How long and how.
        rotates: The part lies at any angle.

    Returns:
        The network in evaluation mode, in float32.
    """
    torch.manual_seed(schedule.seed)
    torch.set_num_threads(_threads(pictures.shape[1] * pictures.shape[2] * schedule.batch))
    network = Autoencoder(pictures.shape[3], width=schedule.width)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loop = _Loop(network, Corruptor(pictures, rotates=rotates), schedule)
    started = time.monotonic()
    losses: list[float] = []
    steps = schedule.steps or TIMED_STEPS
    timed = schedule.minutes is not None
    with _progress() as progress:
        task = progress.add_task("training", total=None if timed else steps, loss=math.nan, rate=0.0)
        step = 0
        while step < steps:
            losses.append(loop.step(step, steps, timing=timed))
            step += 1
            if timed and step == TIMED_STEPS:
                steps, timed = _steps_within(schedule.minutes or 0.0, time.monotonic() - started), False
            rate = step / (time.monotonic() - started)
            shown = float(np.mean(losses[-20:]))
            progress.update(task, completed=step, total=None if timed else steps, loss=shown, rate=rate)
    tenths = [float(np.mean(part)) for part in np.array_split(losses, min(10, len(losses)))]
    return Trained(network.eval(), steps, time.monotonic() - started, loop.bf16, tenths)


def supports_bf16() -> bool:
    """Tell whether this processor multiplies bfloat16 natively (AVX512-BF16 or AMX); elsewhere it is slower."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def as_pictures(frames: Frame) -> Tensor:
    """Turn (n, h, w, C') uint8 into (n, C', h, w) float32 in [0, 1], newly allocated."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float().mul_(1.0 / 255.0)


@torch.no_grad()
def edges_of(frames: Frame) -> npt.NDArray[np.float32]:
    """Return what the core sees of frames at map size: (n, h, w, C') uint8 to (n, 1, h, w) float32 in [0, 1]."""
    edges: npt.NDArray[np.float32] = EdgeFilter()(as_pictures(frames)).numpy()
    return edges


@torch.no_grad()
def error_maps_of(network: Autoencoder, errors: list[str], frames: Frame) -> Iterator[Maps]:
    """Yield the error maps before the box, (K, h, w) float32, of frames at map size, (n, h, w, C') uint8, in order."""
    edge_filter, modules = EdgeFilter(), make_error_maps(errors, frames.shape[3])
    for start in range(0, len(frames), _BATCH_OF_INFERENCE):
        pictures = as_pictures(frames[start : start + _BATCH_OF_INFERENCE])
        reconstructions = network(edge_filter(pictures))
        yield from torch.cat([error(pictures, reconstructions) for error in modules], dim=1).numpy()


class _Loop:
    def __init__(self, network: Autoencoder, corruptor: Corruptor, schedule: Schedule) -> None:
        self.network, self.corruptor, self.schedule = network, corruptor, schedule
        self.bf16 = supports_bf16()
        self.edge_filter, self.loss = EdgeFilter(), ReconstructionLoss()
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
        network.train()

    def step(self, step: int, steps: int, *, timing: bool) -> float:
        rate = _LEARNING_RATE * (_warm_up(step) if timing else _warm_up(step) * _decay(step, steps))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        corrupted, clean = self.corruptor.batch((self.schedule.seed, step), self.schedule.batch)
        edges = self.edge_filter(as_pictures(corrupted))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            reconstruction = self.network(edges.contiguous(memory_format=torch.channels_last))
        loss: Tensor = self.loss(reconstruction.float(), as_pictures(clean))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return loss.item()


def _threads(pixels: int) -> int:
    # Threads wait for each other at every operator: with small maps on a busy machine, two are four times slower.
    return os.cpu_count() or 1 if pixels >= _PIXELS_WORTH_THREADS else 1


def _warm_up(step: int) -> float:
    return min(1.0, (step + 1) / TIMED_STEPS)


def _decay(step: int, steps: int) -> float:
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps))


def _steps_within(minutes: float, seconds_timed: float) -> int:
    return max(TIMED_STEPS, int(minutes * 60 * TIMED_STEPS / seconds_timed))


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.1f} steps/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress
