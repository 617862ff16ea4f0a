"""`edge-engines verify`: is this recipe whole, and does it answer as it did when it was made?"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from engines.command_line import check_can_write, write_json
from engines.errors import EngineError
from engines.golden import GoldenResult, compare_golden, load_golden, map_difference
from engines.precision import Precision, compare_precisions
from engines.recipe import MODEL_FILES, check_revisions, load_recipe
from engines.runtime import Maps, open_runtime
from engines.runtime.cuda_memory import BINDINGS

HELP = "check a recipe: files, structure of the models, golden maps, cost of INT8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe folder")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="good images: also compare the three precisions on them"
    )
    parser.add_argument(
        "--engine",
        choices=["cpu", "tensorrt"],
        default="cpu",
        help="tensorrt: also run the golden frames on the GPU, through the plan of this machine (default: %(default)s)",
    )
    parser.add_argument(
        "--cuda", choices=BINDINGS, default="auto", help="tensorrt: how CUDA is used from Python (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="cpu: threads of one inference (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def run(arguments: argparse.Namespace) -> int:
    try:
        from engines.structure import check_structure, count_gmac, load_model
    except ModuleNotFoundError as problem:
        raise EngineError(
            f"verify needs {problem.name}, which is not installed.",
            fix='Install it with `pip install "edge-agent[tensorrt]"` on a station, else with "edge-agent[train]".',
        ) from problem
    check_can_write("--json", arguments.json)
    folder: Path = arguments.recipe
    recipe = load_recipe(folder)
    check_revisions(folder)
    models = {kind: load_model(folder / name) for kind, name in MODEL_FILES.items()}
    for kind, model in models.items():
        check_structure(model, int8=kind == "tensorrt")
    golden = {kind: _compare(folder, kind, arguments.threads) for kind in ("cpu", "tensorrt")}
    if arguments.engine == "tensorrt":
        golden["plan"] = _compare_plan(folder, arguments.cuda)
    cost = _cost_of_int8(folder, arguments.threads)
    gmac, tiles = count_gmac(models["fp32"]), math.prod(recipe.tiles)
    _print(golden, cost)
    precisions = {}
    if arguments.images is not None:
        precisions = compare_precisions(folder, recipe, arguments.images, threads=arguments.threads)
        _print_precisions(precisions)
    failed = [result for results in golden.values() for result in results if not result.within]
    print(
        f"{recipe.name}: {gmac:.2f} GMAC, structure and {len(golden['cpu'])} golden frames checked, {len(failed)} failed"
    )
    content: dict[str, Any] = {
        "recipe": recipe.name,
        "gmac": round(gmac, 3),
        "gmac_per_tile": round(gmac / tiles, 3),
        "golden": {kind: {r.name: r.difference for r in results} for kind, results in golden.items()},
        "difference_to_fp32": cost,
        "precisions": {kind: asdict(precision) for kind, precision in precisions.items()} or None,
        "tolerance": golden["cpu"][0].tolerance,
        "passed": not failed,
    }
    write_json(arguments.json, content)
    return EngineError.exit_code if failed else 0


def _compare(folder: Path, kind: str, threads: int) -> list[GoldenResult]:
    runtime = open_runtime("cpu", folder / MODEL_FILES[kind], threads=threads)
    try:
        return compare_golden(runtime, folder)
    finally:
        runtime.close()


def _compare_plan(folder: Path, cuda: str) -> list[GoldenResult]:
    runtime = open_runtime("tensorrt", folder / MODEL_FILES["tensorrt"], threads=1, cuda=cuda)
    try:
        return compare_golden(runtime, folder)
    finally:
        runtime.close()


def _cost_of_int8(folder: Path, threads: int) -> dict[str, dict[str, float]]:
    """Return the mean relative difference of each INT8 file's maps to the FP32 file's, by golden frame."""
    runtime = open_runtime("cpu", folder / MODEL_FILES["fp32"], threads=threads)
    try:
        slot = np.zeros(runtime.frame_shape, np.uint8)
        runtime.bind([slot])
        cost: dict[str, dict[str, float]] = {"cpu": {}, "tensorrt": {}}
        for golden in load_golden(folder):
            slot[...] = golden.frame
            exact: Maps = runtime.infer(0)
            for kind, differences in cost.items():
                differences[golden.path.name] = map_difference(golden.expected_maps(kind), exact)
        return cost
    finally:
        runtime.close()


def _print(golden: dict[str, list[GoldenResult]], cost: dict[str, dict[str, float]]) -> None:
    table = Table("golden frame", "model", "to golden map", "to FP32", "result")
    for kind, results in golden.items():
        for result in results:
            verdict = "ok" if result.within else "DIFFERS"
            to_exact = f"{100 * cost[kind][result.name]:.2f} %" if kind in cost else "-"
            table.add_row(
                result.name,
                MODEL_FILES.get(kind, "its plan, on the GPU"),
                f"{100 * result.difference:.4f} %",
                to_exact,
                verdict,
            )
    Console().print(table)


def _print_precisions(precisions: dict[str, Precision]) -> None:
    table = Table("model", "AUROC, synthetic defects", "maps, good", "maps, defective", "verdicts as FP32")
    for kind, precision in precisions.items():
        differences = (f"{100 * precision.map_difference[which]:.2f} %" for which in ("good", "defective"))
        table.add_row(
            MODEL_FILES[kind], f"{precision.auroc:.4f}", *differences, f"{100 * precision.equal_verdicts:.1f} %"
        )
    Console().print(table)
