"""Timing of many runs in turn: a busy moment of the machine, or a hot GPU, meets every one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from engines.command_line import track

_WARM_UP = 10
Figures = dict[str, dict[str, float]]
# What is done before the clock starts, and what is timed.
Run = tuple[Callable[[], None], Callable[[], object]]


def time_in_turn(runs: Mapping[str, Run], *, rounds: int, budget_s: float, label: str) -> Figures:
    """Time each run once a round, in another order each round.

    Args:
        runs: By name.
        rounds: How many are counted.
        budget_s: No round begins after so many seconds.
        label: For the progress bar.

    Returns:
        By name `p50_ms`, `p99_ms`, and `runs`, the number that was counted.
    """
    taken_ms: dict[str, list[float]] = {name: [] for name in runs}
    order, end_s = np.random.default_rng(0), time.monotonic() + budget_s
    for index in track(range(_WARM_UP + rounds), label=label):
        if index > _WARM_UP and time.monotonic() > end_s:
            break
        for name in order.permutation(list(runs)).tolist():
            prepare, run = runs[name]
            prepare()
            began = time.perf_counter()
            run()
            if index >= _WARM_UP:
                taken_ms[name].append((time.perf_counter() - began) * 1e3)
    return {
        name: {
            "p50_ms": float(np.percentile(times, 50)),
            "p99_ms": float(np.percentile(times, 99)),
            "runs": len(times),
        }
        for name, times in taken_ms.items()
    }
