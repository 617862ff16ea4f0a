"""`edge-calibrate activate`: put a threshold revision in force."""

from __future__ import annotations

import argparse
from pathlib import Path

from calibrate.description import describe
from edge_agent.revisions import activate

HELP = "put a threshold revision in force"
TAKEN_UP = "It is in force; a running agent takes it on `systemctl reload edge-agent@STATION`, or at its next start."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe folder")
    parser.add_argument("revision", metavar="REVISION", help="for example r0002")
    parser.add_argument("--note", default="", metavar="TEXT", help="why, for the history")


def run(arguments: argparse.Namespace) -> int:
    for line in describe(activate(arguments.recipe, arguments.revision, note=arguments.note)):
        print(line)
    print(TAKEN_UP)
    return 0
