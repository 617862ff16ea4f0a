"""`edge-engines bench`: how long one inference takes; on a GPU, with each way of a frame to it."""

from __future__ import annotations

import argparse
import mmap
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import cast

import numpy as np
from rich.console import Console
from rich.table import Table

from engines.command_line import track, write_json
from engines.errors import UsageError
from engines.golden import load_golden
from engines.images import Frame
from engines.machine import describe_machine
from engines.plans.store import default_store
from engines.recipe import MODEL_FILES, load_recipe
from engines.runtime import Runtime, open_runtime
from engines.runtime.cuda_memory import BINDINGS
from engines.runtime.tensorrt import FRAME_MEMORIES, FrameMemory, TensorRtRuntime

HELP = "time one inference with each model file, or with each way of a frame to the GPU"
_WARM_UP = 3
Figures = dict[str, dict[str, float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe folder")
    parser.add_argument(
        "--engine", choices=["cpu", "tensorrt"], default="cpu", help="what runs the models (default: %(default)s)"
    )
    parser.add_argument(
        "--runs", type=int, default=100, metavar="N", help="inferences with each (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="cpu: threads of one inference (default: %(default)s)"
    )
    parser.add_argument(
        "--memory",
        choices=FRAME_MEMORIES,
        action="append",
        help="tensorrt: a way of the frames to the GPU; give it again for more (default: all four, and the fastest is "
        "recorded beside the plan and used from then on)",
    )
    parser.add_argument(
        "--cuda", choices=BINDINGS, default="auto", help="tensorrt: how CUDA is used from Python (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def run(arguments: argparse.Namespace) -> int:
    if arguments.runs < 1 or arguments.threads < 1:
        raise UsageError("--runs and --threads must be at least 1.", fix="Leave them out, or give larger numbers.")
    recipe = load_recipe(arguments.recipe)
    bench = _bench_memories if arguments.engine == "tensorrt" else _bench_files
    about, figures = bench(arguments)
    machine = describe_machine()
    table = Table("", "p50 ms", "p99 ms")
    for name, figure in figures.items():
        table.add_row(
            MODEL_FILES.get(name, name) if arguments.engine == "cpu" else name,
            f"{figure['p50_ms']:.2f}",
            f"{figure['p99_ms']:.2f}",
        )
    Console().print(table)
    print(f"{recipe.name}, {about}, {arguments.runs} runs each, on {machine}")
    content = {"machine": machine, "threads": arguments.threads, "runs": arguments.runs, "models": figures}
    write_json(arguments.json, content)
    return 0


def _bench_files(arguments: argparse.Namespace) -> tuple[str, Figures]:
    """Time ONNX Runtime with each model file."""
    folder: Path = arguments.recipe
    openers: dict[str, Callable[[], Runtime]] = {
        kind: lambda name=name: open_runtime("cpu", folder / name, threads=arguments.threads)  # type: ignore[misc]
        for kind, name in MODEL_FILES.items()
    }
    return f"ONNX Runtime, {arguments.threads} threads", _time(openers, _golden_frame(folder), arguments.runs)


def _bench_memories(arguments: argparse.Namespace) -> tuple[str, Figures]:
    """Time TensorRT with each way of a frame, and record the fastest where all were tried."""
    folder: Path = arguments.recipe
    model = folder / MODEL_FILES["tensorrt"]
    kinds = cast("Sequence[FrameMemory]", arguments.memory or FRAME_MEMORIES)
    # Builds the plan where there is none, so that no timing begins with that.
    with closing(TensorRtRuntime(model, binding=arguments.cuda)) as runtime:
        plan, facts, can_register = runtime.plan, runtime.device, runtime.device.can_register
    kinds = [kind for kind in kinds if kind != "registered" or can_register]
    openers: dict[str, Callable[[], Runtime]] = {
        kind: lambda kind=kind: TensorRtRuntime(model, binding=arguments.cuda, frame_memory=kind)  # type: ignore[misc]
        for kind in kinds
    }
    figures = _time(openers, _golden_frame(folder), arguments.runs)
    if arguments.memory is None:
        fastest = min(figures, key=lambda kind: figures[kind]["p50_ms"])
        recorded = {**plan.facts, "frame_memory": fastest, "frame_memory_ms": figures}
        default_store().save(plan.key, plan.content, recorded)
        print(f"{fastest} is the fastest and will be used")
    return f"TensorRT {plan.key.tensorrt}, {facts}", figures


def _golden_frame(folder: Path) -> Frame:
    return load_golden(folder)[0].frame


def _time(openers: dict[str, Callable[[], Runtime]], frame: Frame, runs: int) -> Figures:
    """Run all of them in turn, so that a busy moment of the machine slows down every one."""
    times_ms: dict[str, list[float]] = {name: [] for name in openers}
    with ExitStack() as stack:
        opened = {}
        for name, opener in openers.items():
            runtime, slot = stack.enter_context(closing(opener())), _page_aligned(frame)
            runtime.bind([slot])
            opened[name] = runtime, slot
        for index in track(range(_WARM_UP + runs), label="timing"):
            for name, (runtime, slot) in opened.items():
                # As the camera does: the frame lies in the CPU's cache, and not where the GPU wants it.
                slot[...] = frame
                started = time.perf_counter()
                runtime.infer(0)
                if index >= _WARM_UP:
                    times_ms[name].append((time.perf_counter() - started) * 1e3)
    return {
        name: {f"p{rank}_ms": round(float(np.percentile(times, rank)), 3) for rank in (50, 99)}
        for name, times in times_ms.items()
    }


def _page_aligned(frame: Frame) -> Frame:
    """Return a slot like one of the ring's, with the frame's shape; its content is 0."""
    return np.frombuffer(mmap.mmap(-1, frame.nbytes), np.uint8)[: frame.nbytes].reshape(frame.shape)
