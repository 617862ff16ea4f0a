"""`edge-agent run`: the line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_agent.log_lines import log_lines
from edge_agent.service import run_station
from edge_agent.station import load_station

HELP = "inspect every part and publish the verdict, until SIGTERM"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="station file")
    parser.add_argument(
        "--verbose", action="store_true", help="log every line, and what is only of use to a programmer, too"
    )


def run(arguments: argparse.Namespace) -> int:
    with log_lines(sys.stderr, verbose=arguments.verbose):
        run_station(load_station(arguments.config))
    return 0
