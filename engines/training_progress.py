"""What a person sees of a training on stderr: a bar in a terminal; in a file, a line every half a minute."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from engines.schedule import Course

_SHOWN_LOSSES = 20
_LINE_PERIOD_S = 30.0


@contextmanager
def shown(course: Course) -> Iterator[Callable[[], None]]:
    """Show progress; gives the function to call after every step."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.1f} steps/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    first_step = course.step
    first_s = line_s = course.seconds
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=course.steps, completed=first_step, loss=math.nan, rate=0.0)

        def show() -> None:
            nonlocal line_s
            rate = (course.step - first_step) / (course.seconds - first_s)
            loss = float(np.mean(course.losses[-_SHOWN_LOSSES:]))
            progress.update(task, completed=course.step, total=course.steps, loss=loss, rate=rate)
            # Where the bar cannot move, it is written once, at the end.
            if not console.is_terminal and course.seconds - line_s >= _LINE_PERIOD_S:
                line_s = course.seconds
                console.print(_line(course, loss, rate), highlight=False, soft_wrap=True)

        yield show


def _line(course: Course, loss: float, rate: float) -> str:
    done = f"training: {course.step:,} steps"
    if course.steps is None:
        return f"{done}, loss {loss:.4f}, {rate:.1f} steps/s"
    left = timedelta(seconds=round((course.steps - course.step) / rate))
    return f"{done} of {course.steps:,}, loss {loss:.4f}, {rate:.1f} steps/s, {left} left"
