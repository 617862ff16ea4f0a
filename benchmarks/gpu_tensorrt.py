"""TensorRT on this GPU: our builder, our runtime, and the golden frames of a recipe, whatever flavour is there.

python gpu_tensorrt.py ORDER

ORDER is a JSON object with the arguments of `examine_tensorrt`; the answer is one line of JSON. It is a program of its
own: a fault in the native library ends this process, and what was measured before stays.
"""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from gpu_driver import child_environment
from gpu_timing import Run, time_in_turn
from gpu_wheels import TENSORRTS

from edge_agent.decision import decide
from edge_agent.ring import FrameRing
from edge_agent.thresholds import ThresholdRevision, load_thresholds
from engines.errors import AgentError, EngineError, ThresholdsError
from engines.golden import GoldenFrame, load_golden, map_difference
from engines.images import Frame
from engines.recipe import MODEL_FILES, Recipe, load_recipe
from engines.runtime.tensorrt import FrameMemory, TensorRtRuntime

Row = dict[str, Any]
_NOTHING: Row = {"flavour": None, "why_not": None, "engines": [], "ms": {}, "failures": []}
# TensorRT for RTX counts its versions differently, and is of this generation: strongly typed networks only.
_RTX_GENERATION = "11.0.0"
_NO_RECIPE = "give a recipe folder with `--recipe RECIPE`; `make demo` makes one in demo/work/recipe"
_NO_FLAVOUR = "no flavour of it can be imported; carry one with `--carry DIR`, and give `--wheels DIR`"


def examine_in_child(recipe: Path | None, ways: Mapping[str, Sequence[str]], *, rounds: int, budget_s: float) -> Row:
    """Return what `examine_tensorrt` returns, made in a process of its own."""
    order = {"recipe": str(recipe) if recipe else None, "ways": ways, "rounds": rounds, "budget_s": budget_s}
    words = [sys.executable, __file__, json.dumps(order)]
    # Progress and the library's complaints go where ours go.
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, env=child_environment())
    if done.returncode == 0:
        row: Row = json.loads(done.stdout.splitlines()[-1])
        return row
    ended = f"died of {signal.Signals(-done.returncode).name}" if done.returncode < 0 else "failed; see its message"
    return {**_NOTHING, "why_not": f"the process that ran it {ended}"}


@dataclass(frozen=True)
class Engine:
    """One runtime with a slot of the ring."""

    name: str
    runtime: TensorRtRuntime
    slot: Frame


def examine_tensorrt(
    recipe: Path | None, ways: Mapping[str, Sequence[FrameMemory]], *, rounds: int, budget_s: float
) -> Row:
    """Build, compare and time a recipe's engine; where that cannot be, `why_not` says what to do."""
    row: Row = dict(_NOTHING)
    if recipe is None:
        return {**row, "why_not": _NO_RECIPE}
    with offered_tensorrt() as flavour:
        if flavour is None:
            return {**row, "why_not": _NO_FLAVOUR}
        row["flavour"] = flavour
        try:
            return row | compare(recipe, ways, rounds=rounds, budget_s=budget_s)
        except AgentError as problem:
            # A flavour for other GPUs than this one, most of all.
            return {**row, "why_not": str(problem)}


@contextmanager
def offered_tensorrt() -> Iterator[str | None]:
    """Let the product import a flavour as `tensorrt`; yields its name and version, None where there is none."""
    for name in TENSORRTS:
        try:
            found = importlib.import_module(name)
        except (ImportError, OSError):
            continue
        if name == "tensorrt":
            yield f"{name} {found.__version__}"
            return
        offered = ModuleType("tensorrt")
        offered.__dict__.update(vars(found))
        if "rtx" in name:
            offered.__dict__["__version__"] = _RTX_GENERATION
        sys.modules["tensorrt"] = offered
        try:
            yield f"{name} {found.__version__}"
        finally:
            del sys.modules["tensorrt"]
        return
    yield None


def compare(folder: Path, ways: Mapping[str, Sequence[FrameMemory]], *, rounds: int, budget_s: float) -> Row:
    """Open the engine with each binding and way, and hold its maps and verdicts against those of ONNX Runtime.

    Raises:
        AgentError: The recipe cannot be read, or the engine not be built or run.
    """
    recipe, golden = load_recipe(folder), load_golden(folder)
    thresholds, why_no_verdicts = thresholds_of(folder)
    with ExitStack() as stack:
        ring = stack.enter_context(closing(FrameRing.create(recipe.frame_shape, sum(map(len, ways.values())))))
        engines = open_engines(stack, folder / MODEL_FILES["tensorrt"], ways, ring)
        compared = [judge(engine, golden, recipe, thresholds) for engine in engines]
        frame = golden[0].frame
        runs: dict[str, Run] = {engine.name: (_writer(engine, frame), _inference(engine)) for engine in engines}
        figures = time_in_turn(runs, rounds=rounds, budget_s=budget_s, label="timing TensorRT")
        facts = engines[0].runtime.plan.facts
    failures = [f"{row['engine']}: {failure}" for row in compared for failure in row["failures"]]
    return {
        "plan": facts,
        "engines": compared,
        "ms": figures,
        "failures": failures,
        "no_verdicts": why_no_verdicts,
    }


def open_engines(
    stack: ExitStack, model: Path, ways: Mapping[str, Sequence[FrameMemory]], ring: FrameRing
) -> list[Engine]:
    """Open and bind a runtime for each binding and way that the GPU has; the plan is built by the first of them."""
    engines: list[Engine] = []
    for binding, of_binding in ways.items():
        for way in of_binding:
            print(f"TensorRT: opening the engine, {binding}, {way}", file=sys.stderr, flush=True)
            runtime = stack.enter_context(closing(TensorRtRuntime(model, binding=binding, frame_memory=way)))
            slot = ring.slot(len(engines))
            runtime.bind([slot])
            engines.append(Engine(f"{binding}, {way}", runtime, slot))
    return engines


def judge(engine: Engine, golden: list[GoldenFrame], recipe: Recipe, thresholds: ThresholdRevision | None) -> Row:
    """Run the golden frames through an engine."""
    failures, differences, equal_verdicts = [], [], 0
    for frame in golden:
        engine.slot[...] = frame.frame
        maps, expected = engine.runtime.infer(0), frame.expected_maps("tensorrt")
        differences.append(map_difference(maps, expected))
        if not differences[-1] <= frame.tolerance:
            failures.append(f"{frame.path.name} differs by {100 * differences[-1]:.3g} %")
            continue
        if thresholds is None:
            continue
        verdicts = [decide(m, thresholds, roi_size_wh=recipe.roi_size_wh).verdict for m in (maps, expected)]
        equal_verdicts += verdicts[0] == verdicts[1]
        if verdicts[0] != verdicts[1]:
            failures.append(f"{frame.path.name} is {verdicts[0]}, with ONNX Runtime {verdicts[1]}")
    return {
        "engine": engine.name,
        "frames": len(golden),
        # NaN cannot be written as JSON; the failures name it.
        "largest_difference": float(max(differences)) if np.isfinite(differences).all() else None,
        "equal_verdicts": None if thresholds is None else equal_verdicts,
        "failures": failures,
    }


def thresholds_of(folder: Path) -> tuple[ThresholdRevision | None, str | None]:
    """Return the thresholds in force, whichever file they were fitted on, or why there are none."""
    try:
        return load_thresholds(folder), None
    except ThresholdsError as problem:
        return None, str(problem)


def _writer(engine: Engine, frame: Frame) -> Callable[[], None]:
    return lambda: np.copyto(engine.slot, frame)


def _inference(engine: Engine) -> Callable[[], object]:
    def infer() -> None:
        if not np.isfinite(engine.runtime.infer(0)[0, 0, 0]):
            raise EngineError("an inference wrote nothing.", fix="See the log of the driver.")

    return infer


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    found = Path(asked["recipe"]) if asked["recipe"] else None
    answer = examine_tensorrt(found, asked["ways"], rounds=asked["rounds"], budget_s=asked["budget_s"])
    print(json.dumps(answer))
