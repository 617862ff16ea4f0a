"""`edge-engines inspect`: look at what is otherwise hidden in a recipe, a plan, or training."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engines.command_line import map_size, write_json
from engines.errors import EngineError, NoInputError, UsageError
from engines.recipe import MODEL_FILES, load_recipe

HELP = "show what a recipe costs or what a plan became, or draw the corruptions that training practises on"
DEFAULT_SHEET = Path("corruptions.png")
_MOST_FRAMES = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", type=Path, nargs="?", metavar="RECIPE|PLAN", help="recipe folder, or a plan of the cache directory"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--corruptions", type=Path, metavar="IMAGES", help="draw each kind on images of this folder")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_SHEET, metavar="FILE", help="the picture (default: %(default)s)"
    )
    parser.add_argument(
        "--size",
        type=map_size,
        default=256,
        metavar="N|WxH",
        help="size of the frames in pixels, as in train (default: %(default)s)",
    )
    parser.add_argument("--rotates", action="store_true", help="the part lies at any angle")
    parser.add_argument(
        "--resize",
        choices=["letterbox", "stretch"],
        help="how images of several sizes are made one size (default: they are refused)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed gives the same sheet (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    if (arguments.target is None) == (arguments.corruptions is None):
        raise UsageError(
            "there is nothing to inspect, or two things.", fix="Give a recipe, a plan, or --corruptions IMAGES."
        )
    if arguments.corruptions is not None:
        return _draw_corruptions(arguments)
    if arguments.target.suffix == ".plan":
        return _show_plan(arguments.target, arguments.json)
    return _show_recipe(arguments.target, arguments.json)


def _show_recipe(folder: Path, result: Path | None) -> int:
    """Show every convolution of the engine's source, and the least time on the boards."""
    recipe = load_recipe(folder)
    try:
        from engines.roofline import BOARDS, convolution_costs
        from engines.structure import load_model
    except ModuleNotFoundError as problem:
        raise EngineError(
            f"inspect needs {problem.name}, which is not installed.",
            fix='Install it with `pip install "edge-agent[tensorrt]"`.',
        ) from problem
    costs = convolution_costs(load_model(folder / MODEL_FILES["tensorrt"]))
    table = Table("convolution", "precision", "MMAC", "kB moved")
    for cost in costs:
        table.add_row(cost.name, cost.precision, f"{1e3 * cost.gmac:.1f}", f"{1e3 * cost.megabytes:.0f}")
    Console().print(table)
    floors = {board.name: sum(cost.floor_ms(board) for cost in costs) for board in BOARDS}
    quantised = sum(cost.precision == "int8" for cost in costs)
    gmac, megabytes = sum(cost.gmac for cost in costs), sum(cost.megabytes for cost in costs)
    print(f"{recipe.name}: {gmac:.2f} GMAC, {quantised} of {len(costs)} convolutions in INT8, {megabytes:.1f} MB moved")
    print("no board can be faster than", ", ".join(f"{name} {floor:.2f} ms" for name, floor in floors.items()))
    content = {"recipe": recipe.name, "gmac": gmac, "megabytes": megabytes, "floor_ms": floors}
    write_json(result, {**content, "convolutions": [vars(cost) for cost in costs]})
    return 0


def _show_plan(path: Path, result: Path | None) -> int:
    """Show what is kept beside a plan; the plan itself is code, and is not opened."""
    try:
        side = json.loads(path.with_suffix(".json").read_bytes())
        key, facts = dict(side["key"]), dict(side["facts"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise NoInputError(
            f"{path} has no side file that can be read: {problem}.", fix="Build it again with `edge-engines build`."
        ) from problem
    table = Table("", "")
    for name, value in {**key, **facts}.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)
    write_json(result, {"key": key, "plan": facts})
    return 0


def _draw_corruptions(arguments: argparse.Namespace) -> int:
    if arguments.out.suffix.lower() != ".png":
        raise UsageError(f"--out {arguments.out} is no PNG file.", fix="Give a name that ends in .png.")
    if arguments.seed < 0:
        raise UsageError(f"--seed {arguments.seed} is negative.", fix="Give 0 or more.")
    from engines.corruption_sheet import draw_sheet
    from engines.files import replace_file
    from engines.images import encode_png
    from engines.some_frames import read_some

    pictures = read_some(
        arguments.corruptions, arguments.size, resize=arguments.resize or "none", seed=arguments.seed, most=_MOST_FRAMES
    )
    sheet = draw_sheet(pictures, rotates=arguments.rotates, seed=arguments.seed)
    replace_file(arguments.out, encode_png(sheet))
    print(f"{arguments.out}  {sheet.shape[1]} x {sheet.shape[0]} pixels, {len(pictures)} images at ", end="")
    print(f"{pictures.shape[2]} x {pictures.shape[1]}")
    return 0
