"""`edge-calibrate rollback`: take the last activation back."""

from __future__ import annotations

import argparse
from pathlib import Path

from calibrate.commands.activate import TAKEN_UP
from calibrate.description import describe
from edge_agent.revisions import rollback

HELP = "put in force again what was before the present threshold revision"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe folder")
    parser.add_argument("--note", default="", metavar="TEXT", help="why, for the history")


def run(arguments: argparse.Namespace) -> int:
    for line in describe(rollback(arguments.recipe, note=arguments.note)):
        print(line)
    print(TAKEN_UP)
    return 0
