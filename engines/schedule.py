"""How long a training is, how fast it learns at each step, and how far it has come."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Literal

TIMED_STEPS = 20
# The first steps are slower: memory is fetched and kernels are chosen.
_UNTIMED_STEPS = 5
# Of 1, 2, 4 and 8e-3, after 500 steps on bottles, 4e-3 told synthetic defects best; a little less is safe elsewhere, too.
LEARNING_RATE = 3e-3
_LAST_SHARE = 0.01
_ROUNDED_SHARE = 0.15


@dataclass(frozen=True)
class Schedule:
    """How long and how to train.

    Attributes:
        steps: Number of steps; None where `minutes` decides.
        minutes: Time to train; the first 20 steps are timed and fix the number of steps, see `fewest_timed`.
        batch: Pairs a step.
        seed: Fixes the first weights and every batch.
        width: Channels of the first level.
        objective: By which task the network learns what is normal; a file of `engines.objectives`.
        head: A defect head is trained with the network.
        qat: The last steps round as INT8 will.
        device: Where to train; `auto` takes a CUDA device where there is one.
    """

    steps: int | None
    minutes: float | None
    batch: int
    seed: int
    width: int
    objective: str = "restore"
    head: bool = False
    qat: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"


def first_rounded(steps: int) -> int:
    """Return the step from which on a training of so many steps rounds as INT8 will."""
    return steps - max(1, round(_ROUNDED_SHARE * steps))


def fewest_timed(*, rounding: bool) -> int:
    """Return how many steps a training of so many minutes has at least: none of those that are timed may round.

    Their number is not known before, so the first that rounds must not have passed when it is.
    """
    return next(steps for steps in count(TIMED_STEPS) if not rounding or first_rounded(steps) >= TIMED_STEPS)


def learning_rate(step: int, steps: int | None, *, rounding: bool = False) -> float:
    """Return the rate of a step: a ramp over the steps that are timed, then half a cosine down to a hundredth.

    The steps that round begin with a tenth of the rate and have half a cosine of their own.

    The ramp does not depend on the number of steps, which `--minutes` does not know yet: so `--steps` with the number
    that it found does the same.
    """
    if step < TIMED_STEPS or steps is None:
        return LEARNING_RATE * min(1.0, (step + 1) / TIMED_STEPS)
    if rounding:
        first = first_rounded(steps)
        if step >= first:
            return 0.1 * LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * (step - first) / (steps - first)))
        steps = first
    along = (step - TIMED_STEPS) / (steps - TIMED_STEPS)
    return LEARNING_RATE * (_LAST_SHARE + (1 - _LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * along)))


class Course:
    """How far a training has come; fixes the number of steps as soon as enough of them were timed.

    Attributes:
        steps: Number of steps in all; None as long as it is not fixed.
        losses: The loss of each step.
    """

    def __init__(self, schedule: Schedule, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps = schedule.steps
        self.losses: list[float] = []
        self._minutes = schedule.minutes
        self._fewest = fewest_timed(rounding=schedule.qat)
        self._clock = clock
        self._began_s = clock()
        self._timed_from_s = 0.0

    @property
    def step(self) -> int:
        """Number of the next step, from 0."""
        return len(self.losses)

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.steps is not None and self.step >= self.steps

    @property
    def seconds(self) -> float:
        """Time trained, interruptions left out."""
        return self._clock() - self._began_s

    def resume(self, *, steps: int, losses: list[float], seconds: float) -> None:
        """Go on where a checkpoint was written."""
        self.steps, self.losses = steps, list(losses)
        self._began_s = self._clock() - seconds

    def add(self, loss: float) -> None:
        """Count a step that was done."""
        self.losses.append(loss)
        if self.step == _UNTIMED_STEPS:
            self._timed_from_s = self.seconds
        if self.steps is None and self.step == TIMED_STEPS:
            each_s = (self.seconds - self._timed_from_s) / (TIMED_STEPS - _UNTIMED_STEPS)
            left_s = (self._minutes or 0.0) * 60 - self.seconds
            self.steps = max(self._fewest, TIMED_STEPS + int(left_s / max(each_s, 1e-6)))
