"""`edge-calibrate evaluate`: what the thresholds in force do on labelled parts."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from calibrate.evaluation import evaluate
from calibrate.evaluation_page import write_evaluation_page
from calibrate.recipe_engine import engine_in_force
from calibrate.tables import print_figures
from engines.command_line import check_can_write, write_json

HELP = "judge a labelled data set (MVTec AD layout) with the thresholds in force"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe folder")
    parser.add_argument(
        "dataset", type=Path, metavar="DATASET", help="folder with test/good, test/<defect>, ground_truth/<defect>"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with plots and the worst mistakes there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def run(arguments: argparse.Namespace) -> int:
    check_can_write("--html", arguments.html)
    check_can_write("--json", arguments.json)
    with closing(engine_in_force(arguments.recipe)) as engine:
        figures, judged = evaluate(engine, arguments.dataset)
        print_figures(figures)
        write_json(arguments.json, figures)
        # Last: a page that fails takes no figures with it.
        if arguments.html is not None:
            write_evaluation_page(engine, figures, judged, arguments.html)
    return 0
