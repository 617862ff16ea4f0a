"""`edge-engines bench`: how long one inference takes with each model file, side by side."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from engines.command_line import track, write_json
from engines.errors import UsageError
from engines.golden import load_golden
from engines.machine import describe_machine
from engines.recipe import MODEL_FILES, load_recipe
from engines.runtime import Runtime, open_runtime

HELP = "time one inference with each model file"
_WARM_UP = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe folder")
    parser.add_argument("--runs", type=int, default=100, metavar="N", help="inferences with each file")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads of one inference")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")


def run(arguments: argparse.Namespace) -> int:
    if arguments.runs < 1 or arguments.threads < 1:
        raise UsageError("--runs and --threads must be at least 1.", fix="Leave them out, or give larger numbers.")
    folder: Path = arguments.recipe
    recipe = load_recipe(folder)
    frame = load_golden(folder)[0].frame
    runtimes = {
        kind: open_runtime("cpu", folder / name, threads=arguments.threads) for kind, name in MODEL_FILES.items()
    }
    try:
        for runtime in runtimes.values():
            runtime.bind([frame])
        times_ms = _measure(runtimes, arguments.runs)
    finally:
        for runtime in runtimes.values():
            runtime.close()
    machine = describe_machine()
    table = Table("model", "p50 ms", "p99 ms")
    figures = {}
    for kind, times in times_ms.items():
        p50, p99 = (float(value) for value in np.percentile(times, (50, 99)))
        figures[kind] = {"p50_ms": round(p50, 3), "p99_ms": round(p99, 3)}
        table.add_row(MODEL_FILES[kind], f"{p50:.2f}", f"{p99:.2f}")
    Console().print(table)
    print(f"{recipe.name}, ONNX Runtime, {arguments.threads} threads, {arguments.runs} runs each, on {machine}")
    write_json(
        arguments.json, {"machine": machine, "threads": arguments.threads, "runs": arguments.runs, "models": figures}
    )
    return 0


def _measure(runtimes: dict[str, Runtime], runs: int) -> dict[str, list[float]]:
    # In turn, so that a busy moment of the machine slows down all of them.
    times_ms: dict[str, list[float]] = {kind: [] for kind in runtimes}
    for index in track(range(_WARM_UP + runs), label="timing"):
        for kind, runtime in runtimes.items():
            started = time.perf_counter()
            runtime.infer(0)
            if index >= _WARM_UP:
                times_ms[kind].append((time.perf_counter() - started) * 1e3)
    return times_ms
