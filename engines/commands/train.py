"""`edge-engines train`: from a folder of good images to a recipe."""

from __future__ import annotations

import argparse
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engines.command_line import check_can_fill, check_can_write, map_size, write_json
from engines.errors import EngineError, UsageError
from engines.objectives import DEFAULT_OBJECTIVE, objective_names
from engines.processor import prepare_processor
from engines.schedule import Schedule
from engines.tiling import parse_tiles

HELP = "train a recipe on a folder of good images"
DEFAULT_STEPS = 1500
_YEAR_MINUTES = 525_600
_LARGEST_SEED = 2**63 - 1
_LIMITS = {
    "steps": (1, math.inf),
    "minutes": (0.01, _YEAR_MINUTES),
    "batch": (1, math.inf),
    "width": (16, math.inf),
    "seed": (0, _LARGEST_SEED),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", type=Path, metavar="IMAGES", help="folder of good images of one part")
    parser.add_argument(
        "--recipe", type=Path, required=True, metavar="DIR", help="folder to make; one that is there is not overwritten"
    )
    parser.add_argument("--name", metavar="NAME", help="name of the part (default: the folder's)")
    parser.add_argument(
        "--size",
        type=map_size,
        default=256,
        metavar="N|WxH",
        help="size of the anomaly maps in pixels: N takes about N x N in the region's own aspect, WxH exactly this "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--tiles",
        default="1x1",
        metavar="RxC",
        help="for small defects: the network sees the frame in R rows and C columns of overlapping tiles, each of --size N "
        "(default: %(default)s)",
    )
    _add_schedule(parser)
    parser.add_argument(
        "--errors",
        metavar="NAMES",
        help="error maps, one to three of l2, ssim, msgms, learned (default: what tells synthetic defects best)",
    )
    parser.add_argument("--roi", metavar="X,Y,W,H", help="inspected region in camera pixels (default: the whole frame)")
    parser.add_argument("--rotates", action="store_true", help="the part lies at any angle")
    parser.add_argument(
        "--resize",
        choices=["letterbox", "stretch"],
        help="how images of several sizes are made one size (default: they are refused)",
    )
    parser.add_argument(
        "--tensorboard", type=Path, metavar="DIR", help="write loss, learning rate and pictures for TensorBoard"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of the training there")


def _add_schedule(parser: argparse.ArgumentParser) -> None:
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, metavar="N", help=f"training steps (default: {DEFAULT_STEPS})")
    length.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="training time in minutes; fixes the number of steps after the first 20",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed gives the same network (default: %(default)s)"
    )
    parser.add_argument(
        "--width",
        type=int,
        default=32,
        metavar="N",
        help="channels of the first level, multiple of 16 (default: %(default)s)",
    )
    parser.add_argument("--qat", action="store_true", help="let the last 15 %% of the steps round as INT8 will")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="images a step (default: %(default)s)")
    parser.add_argument(
        "--objective",
        choices=objective_names(),
        default=DEFAULT_OBJECTIVE,
        metavar="NAME",
        help=f"by which task the network learns what is normal: {', '.join(objective_names())} (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="where it trains; auto takes CUDA where there is such a device (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    # torch takes seconds to load; a mistyped command line must not wait for it.
    roi, name = _roi(arguments.roi), _name(arguments.name, arguments.recipe)
    tiles = parse_tiles(arguments.tiles)
    _check_numbers(arguments)
    check_can_write("--json", arguments.json)
    check_can_fill("--tensorboard", arguments.tensorboard)
    prepare_processor()
    with _missing_libraries():
        from engines.make_recipe import make_recipe
        from engines.order import Order

        if arguments.tensorboard is not None:
            import engines.tensorboard_log  # noqa: F401
    order = Order(
        images=arguments.images,
        recipe=arguments.recipe,
        name=name,
        map_shape=arguments.size,
        roi_xywh_px=roi,
        errors=arguments.errors.split(",") if arguments.errors else None,
        resize=arguments.resize or "none",
        rotates=arguments.rotates,
        schedule=_schedule(arguments),
        tensorboard=arguments.tensorboard,
        tiles=tiles,
    )
    figures = make_recipe(order)
    counts = figures["images"]
    print(f"recipe      {arguments.recipe}")
    print(f"images      {counts['trained']} trained, {counts['tuning']} tuning, {counts['set_aside']} set aside")
    print(f"training    {figures['steps']} steps in {figures['minutes']} min, loss {figures['losses'][-1]}")
    each = f" ({figures['gmac_per_tile']} for each tile of {arguments.tiles})" if tiles != (1, 1) else ""
    print(f"network     {figures['gmac']} GMAC{each}, {figures['parameters']} parameters")
    print(f"maps        {' + '.join(figures['errors'])}, smoothed over {figures['box_map_px']} pixels")
    for line in _next_lines(figures, arguments.recipe, arguments.images):
        print(line)
    if arguments.resize:
        print("note        made with --resize: it judges recorded images of mixed sizes; a live station takes one size")
    write_json(arguments.json, figures)
    return 0


def _next_lines(figures: Mapping[str, Any], recipe: Path, images: Path) -> Iterator[str]:
    """Say the command for the thresholds, and before it what it would else be refused for."""
    from engines.next_fit import FEWEST_USUAL
    from engines.sample_split import GROUPS_FILE

    planned, counts = figures["next_fit"], figures["images"]
    if planned["parts_missing"]:
        each = f" with {planned['frames_of_a_part']} frames each" if planned["frames_of_a_part"] > 1 else ""
        listed = f" and {GROUPS_FILE}" if (images / GROUPS_FILE).is_file() else ""
        yield (
            f"first       record {planned['parts_missing']} more good parts{each} into {images}{listed}: a fit needs "
            f"{FEWEST_USUAL} frames that say what is usual, and the network knows {counts['trained'] + counts['tuning']}"
        )
    places = f"{shlex.quote(str(recipe))} --images {shlex.quote(str(images))}"
    yield f"next        edge-calibrate fit {places} --false-reject-rate {planned['false_reject_rate']:g}"


@contextmanager
def _missing_libraries() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as problem:
        is_tensorboard = problem.name == "tensorboard"
        raise EngineError(
            f"{'--tensorboard' if is_tensorboard else 'training'} needs {problem.name}, which is not installed.",
            fix=f'Install it with `pip install "edge-agent[{"tensorboard" if is_tensorboard else "train"}]"`.',
        ) from problem


def _schedule(arguments: argparse.Namespace) -> Schedule:
    return Schedule(
        steps=DEFAULT_STEPS if arguments.steps is None and arguments.minutes is None else arguments.steps,
        minutes=arguments.minutes,
        batch=arguments.batch,
        seed=arguments.seed,
        width=arguments.width,
        objective=arguments.objective,
        qat=arguments.qat,
        device=arguments.device,
    )


def _roi(text: str | None) -> tuple[int, int, int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", text)
    if match is None:
        raise UsageError(
            f"--roi {text} is not understood.", fix="Give X,Y,W,H in camera pixels, such as 100,40,512,512."
        )
    x, y, width, height = (int(number) for number in match.groups())
    return x, y, width, height


def _name(name: str | None, recipe: Path) -> str:
    name = recipe.resolve().name if name is None else name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(
            f"`{name}` cannot be the name of a recipe.",
            fix="Give --name with 1 to 64 letters, digits, dots, dashes or underscores, a letter or digit first.",
        )
    return name


def _check_numbers(arguments: argparse.Namespace) -> None:
    for option, (least, most) in _LIMITS.items():
        value = getattr(arguments, option)
        if value is not None and not least <= value <= most:
            above = "" if most == math.inf else f" and at most {most}"
            raise UsageError(f"--{option} {value} is not possible.", fix=f"Give at least {least}{above}.")
    if arguments.width % 16:
        raise UsageError(
            f"--width {arguments.width} is not a multiple of 16.",
            fix="Give 16, 32 or 64: INT8 kernels work in blocks of 16.",
        )
