"""`edge-calibrate fit`: a threshold revision from good parts only."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from calibrate.commands.activate import TAKEN_UP
from calibrate.fit import FitWish, describe, fit
from calibrate.recipe_engine import RecipeEngine, has_tensorrt
from edge_agent.revisions import activate
from engines.command_line import positive, rate, write_json

HELP = "fit thresholds on good parts and put them in force"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="recipe folder")
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="good frames, the set-aside among them"
    )
    parser.add_argument(
        "--false-reject-rate", type=rate, required=True, metavar="RATE", help="share of good parts that may be rejected"
    )
    parser.add_argument(
        "--engine",
        choices=["auto", "tensorrt", "cpu"],
        default="auto",
        help="what will run on the line; auto takes TensorRT where it is installed",
    )
    parser.add_argument("--confident", action="store_true", help="ask that the 95 %% bound meets the rate")
    parser.add_argument(
        "--min-area-px", type=positive, metavar="N", help="smallest defect that counts, in camera pixels"
    )
    parser.add_argument(
        "--exclude",
        metavar="NAME",
        action="append",
        default=[],
        help="a file that shows no good part after all; give it again for more. The promise then says so",
    )
    parser.add_argument("--note", default="", help="why, for the history")
    parser.add_argument("--no-activate", action="store_true", help="write the revision without putting it in force")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the calibration there")


def run(arguments: argparse.Namespace) -> int:
    wish = FitWish(
        arguments.false_reject_rate,
        arguments.confident,
        arguments.min_area_px,
        arguments.note,
        tuple(arguments.exclude),
    )
    chosen = arguments.engine
    if chosen == "auto":
        chosen = "tensorrt" if has_tensorrt() else "cpu"
    with closing(RecipeEngine(arguments.recipe, model=chosen, runtime=chosen)) as engine:
        revision = fit(engine, arguments.images, wish)
    for line in describe(revision):
        print(line)
    if arguments.no_activate:
        print(f"It is not in force yet: edge-calibrate activate {arguments.recipe} {revision.name}")
    else:
        activate(arguments.recipe, revision.name, note=arguments.note)
        print(TAKEN_UP)
    write_json(arguments.json, revision.calibration.model_dump(by_alias=True))
    return 0
