"""`edge-calibrate activate`: put a threshold revision in force."""

from __future__ import annotations

import argparse
from pathlib import Path

from calibrate.fit import describe
from edge_agent.thresholds import activate, load_thresholds, revision_names
from engines.errors import ThresholdsError

HELP = "put a threshold revision in force; a running agent takes it at its next start"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="recipe folder")
    parser.add_argument("revision", help="for example r0002")


def run(arguments: argparse.Namespace) -> int:
    names = revision_names(arguments.recipe)
    if arguments.revision not in names:
        raise ThresholdsError(
            f"{arguments.recipe} has no threshold revision {arguments.revision}.",
            fix=f"Choose one of: {', '.join(names)}." if names else "Fit one with `edge-calibrate fit`.",
        )
    activate(arguments.recipe, arguments.revision)
    for line in describe(load_thresholds(arguments.recipe)):
        print(line)
    return 0
