"""`edge-engines build`: compile a recipe for the GPU of this machine."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich import progress as bars
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from engines.command_line import write_json
from engines.errors import EngineError
from engines.golden import load_golden, verify_engine
from engines.plans.builder import PlanBuilder, Progress, TensorRtBuilder
from engines.plans.library import load_library
from engines.plans.provide import builder_of, provide_plan
from engines.recipe import MODEL_FILES, load_recipe
from engines.runtime.cuda_memory import BINDINGS, CudaMemory, open_cuda
from engines.runtime.tensorrt import TensorRtRuntime
from engines.service_manager import ask_for_patience

HELP = "compile a recipe with the TensorRT of this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe folder")
    parser.add_argument("--again", action="store_true", help="build even if there is a plan")
    parser.add_argument(
        "--builder",
        choices=["tensorrt", "torch2trt"],
        help="who builds it (default: any plan that is there will do, else tensorrt builds one)",
    )
    parser.add_argument(
        "--cuda", choices=BINDINGS, default="auto", help="how CUDA is used from Python (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write there what was built")


def run(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.recipe
    recipe = load_recipe(folder)
    model, library = folder / MODEL_FILES["tensorrt"], load_library()
    memory = open_cuda(arguments.cuda)
    try:
        facts = memory.facts
        builder = _builder(arguments.builder, folder, memory)
        with memory.current(), build_progress() as progress:
            plan = provide_plan(library, facts, model, progress=progress, builder=builder, again=arguments.again)
    finally:
        memory.close()
    runtime = TensorRtRuntime(model, binding=arguments.cuda)
    try:
        verify_engine(runtime, folder)
    except EngineError as problem:
        runtime.discard()
        raise EngineError(
            f"{problem.problem} The plan was removed.",
            fix="Run the same command without `--builder`, or with `--builder tensorrt`; if that ends alike, train again.",
        ) from problem
    finally:
        runtime.close()
    made = f"built in {plan.facts['seconds']:.0f} s" if plan.built_now else "was there already"
    way = f"{builder_of(plan.facts)}, {plan.facts['typing']} typing"
    print(f"{recipe.name}  {made} by {way}, TensorRT {library.version}, {facts}")
    print(
        f"plan        {plan.path}, {len(plan.content) / 1e6:.1f} MB\n"
        f"layers      {plan.facts['layers']}, {plan.facts['reformats']} of them reformats; "
        f"{plan.facts['int8_convolutions']} convolutions in INT8"
    )
    print("verified    the golden frames give their maps")
    write_json(
        arguments.json,
        {"recipe": recipe.name, "key": asdict(plan.key), "built_now": plan.built_now, "plan": plan.facts},
    )
    return 0


def _builder(name: str | None, recipe_dir: Path, memory: CudaMemory) -> PlanBuilder | None:
    if name != "torch2trt":
        return TensorRtBuilder() if name else None
    from engines.torch2trt_adapter import Torch2trtBuilder

    return Torch2trtBuilder([golden.frame for golden in load_golden(recipe_dir)], memory)


@contextmanager
def build_progress() -> Iterator[Progress]:
    """Show a bar on a terminal; where a service manager waits, tell it that the work goes on."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with bars.Progress(*columns, transient=True) as shown:
        task = shown.add_task("building", total=1.0)

        def progress(phase: str, share: float) -> None:
            ask_for_patience()
            shown.update(task, description=phase, completed=share)

        yield progress
