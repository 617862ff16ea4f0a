"""`edge-agent run`: the line."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from edge_agent.journal import log_to_stderr
from edge_agent.service import run_station
from edge_agent.station import load_station

HELP = "inspect every part and publish the verdict, until SIGTERM"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="station file")
    parser.add_argument("--verbose", action="store_true", help="log what is only of use to a programmer, too")


def run(arguments: argparse.Namespace) -> int:
    log_to_stderr(logging.DEBUG if arguments.verbose else logging.INFO)
    run_station(load_station(arguments.config))
    return 0
