"""`edge-calibrate report`: verdicts against the truth, with pictures."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

from calibrate.evaluation import evaluate
from calibrate.recipe_engine import engine_in_force
from calibrate.report import check_origin, confusion, coverage_line, headline, read_verdicts, write_report
from calibrate.tables import print_figures
from engines.command_line import check_can_write

HELP = "compare the verdicts that a PLC received with the truth, and write a page with pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe folder")
    parser.add_argument(
        "dataset", type=Path, metavar="DATASET", help="labelled data set; the agent ran on its folder test"
    )
    parser.add_argument("--verdicts", type=Path, required=True, metavar="FILE", help="from `edge-agent watch --json`")
    parser.add_argument("--html", type=Path, required=True, metavar="FILE", help="page to write")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="write the clearest reject as one picture, too")


def run(arguments: argparse.Namespace) -> int:
    check_can_write("--html", arguments.html)
    check_can_write("--picture", arguments.picture)
    verdicts = read_verdicts(arguments.verdicts, arguments.dataset)
    with closing(engine_in_force(arguments.recipe)) as engine:
        check_origin(verdicts, engine)
        figures, _ = evaluate(engine, arguments.dataset)
        write_report(engine, verdicts, figures, arguments.html, arguments.picture)
    print_figures(figures)
    table = Table("truth", "PASS", "FAIL", "INVALID", title="Verdicts at the PLC against the truth")
    for label, row in sorted(confusion(verdicts).items()):
        table.add_row(label, *(str(count) for count in row.values()))
    Console().print(table)
    print(headline(verdicts))
    if line := coverage_line(verdicts, figures["frames"]):
        print(line)
    print(f"Report with pictures: {arguments.html}")
    return 0
