"""The training loop: from good frames to a network that rebuilds what is normal, with checkpoints on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from rich.console import Console
from torch import Tensor

from engines.checkpoint import Checkpoint, State
from engines.corruptions import Corruptor
from engines.device import Device, choose_device, set_threads
from engines.errors import EngineError
from engines.forward import Core
from engines.images import Frame
from engines.objective import Objective, Pair
from engines.pairs_ahead import made_ahead
from engines.schedule import Course, Schedule, first_rounded, learning_rate
from engines.short_memory import short_memory_named
from engines.tiling import Tiling
from engines.trainer import Trainer
from engines.training_progress import shown

_PAIRS_FOR_RANGES = 8
_OTHERWISE = "Train with another --seed, or with --device cpu."


class TrainingLog(Protocol):
    """Somebody who wants to know of every step."""

    def add(self, step: int, *, loss: float, rate: float, pair: Pair, reconstruction: Tensor) -> None:
        """Take note of a step; the tensors are read only and not kept."""


@dataclass
class Trained:
    """A network and how it came to be.

    Attributes:
        core: The network in evaluation mode, in float32 on the CPU.
        steps: Number of steps.
        seconds: Time they took, interruptions left out.
        device: Where they ran.
        continued_at: Step at which an interrupted training was taken up; 0 where it was not.
        losses: Mean loss of each tenth of the steps, or fewer.
    """

    core: Core
    steps: int
    seconds: float
    device: Device
    continued_at: int = 0
    losses: list[float] = field(default_factory=list)


@short_memory_named()
def train(
    pictures: Frame,
    schedule: Schedule,
    *,
    rotates: bool,
    tiling: Tiling | None = None,
    checkpoint: Checkpoint | None = None,
    interrupted: State | None = None,
    log: TrainingLog | None = None,
    kind: type[Objective] | None = None,
) -> Trained:
    """Train a network on good frames.

    Args:
        pictures: Good frames at map size, (n, h, w, C') uint8; may be memory-mapped; read only.
        schedule: How long and how.
        rotates: The part lies at any angle.
        tiling: The network learns single tiles of the frames; None shows it whole ones. What it sees is made of the
            tile here and of the whole frame in the graph: with `edges` the outermost pixel of a tile may differ.
        checkpoint: Is saved every minute and at the end.
        interrupted: What such a checkpoint held: continue there.
        log: Is told of every step.
        kind: The objective's class, where it is none of those that the schedule can name.

    Raises:
        EngineError: The device does not exist, memory does not suffice, or the loss or a weight is not finite any more;
            the checkpoint is that of a step before.
    """
    device = choose_device(schedule.device)
    height, width = pictures.shape[1:3] if tiling is None else tiling.tile_shape
    set_threads(height * width * schedule.batch)
    trainer = Trainer(pictures.shape[3], schedule, device, kind=kind)
    course = Course(schedule)
    if interrupted is not None:
        _resume(trainer, course, interrupted)
    continued_at = course.step
    corruptor = Corruptor(pictures, rotates=rotates, tiling=tiling)

    def make_pair(step: int) -> Pair:
        return trainer.objective.pair(corruptor, (schedule.seed, step), schedule.batch)

    with shown(course) as show, made_ahead(make_pair) as take_pair:
        while not course.finished:
            step, pair = course.step, take_pair(course.step)
            if schedule.qat and course.steps is not None and step == first_rounded(course.steps):
                trainer.begin_rounding(make_pair(course.steps + index) for index in range(_PAIRS_FOR_RANGES))
            rate = learning_rate(step, course.steps, rounding=schedule.qat)
            done = trainer.step(pair, step, rate)
            _check_loss(done.loss, step)
            course.add(done.loss)
            show()
            if log is not None:
                log.add(step, loss=done.loss, rate=rate, pair=pair, reconstruction=done.reconstruction)
            if checkpoint is not None and course.steps is not None and (checkpoint.due or course.finished):
                checkpoint.save(_state(trainer, course))
    _check_weights(trainer, course.step)
    core = trainer.core()
    tenths = [float(np.mean(part)) for part in np.array_split(course.losses, min(10, course.step))]
    return Trained(core, course.step, course.seconds, device, continued_at, tenths)


def _state(trainer: Trainer, course: Course) -> State:
    _check_weights(trainer, course.step)
    return {
        "trainer": trainer.state(),
        "steps": course.steps,
        "losses": list(course.losses),
        "seconds": course.seconds,
    }


def _resume(trainer: Trainer, course: Course, state: State) -> None:
    trainer.restore(state["trainer"])
    course.resume(steps=state["steps"], losses=state["losses"], seconds=state["seconds"])
    Console(stderr=True).print(f"continuing at step {course.step:,} of {course.steps:,}", highlight=False)


def _check_loss(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise EngineError(f"the loss became {loss} at step {step}.", fix=_OTHERWISE)


def _check_weights(trainer: Trainer, steps: int) -> None:
    # The loss is of the weights before a step: it does not show that the step spoiled them.
    if not trainer.is_finite():
        raise EngineError(f"weights are infinite or no numbers after {steps} steps.", fix=_OTHERWISE)
