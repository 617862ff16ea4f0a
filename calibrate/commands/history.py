"""`edge-calibrate history`: every threshold revision of a recipe, and who put which one in force."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from calibrate.figures import promised
from edge_agent.revisions import read_log, revision_names
from edge_agent.thresholds import Calibration, load_calibration, name_in_force
from engines.command_line import write_json
from engines.errors import ThresholdsError
from engines.recipe import load_recipe

HELP = "list the threshold revisions of a recipe, and who put which one in force"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the revisions and the log there")


def run(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.recipe
    recipe, current, log = load_recipe(folder), _in_force(folder), read_log(folder)
    revisions = {name: _read(folder, name) for name in revision_names(folder)}
    if not revisions:
        raise ThresholdsError(
            f"{folder} has no threshold revisions.", fix="Fit one with `edge-calibrate fit RECIPE --images DIR`."
        )
    table = Table(
        "",
        # A terminal of 80 columns cuts neither name nor day.
        Column("revision", no_wrap=True),
        Column("made", min_width=len("2026-01-31")),
        *("by", "engine", "factor", "false rejects", "rests on", "note"),
        title=recipe.name,
        box=SIMPLE,
        pad_edge=False,
        collapse_padding=True,
    )
    for name, found in revisions.items():
        mark = "in force" if name == current else ""
        table.add_row(mark, name, *(_cells(found) if isinstance(found, Calibration) else ["damaged: see below"]))
    Console(markup=False).print(table)
    for problem in revisions.values():
        if isinstance(problem, ThresholdsError):
            print(problem)
    if current not in revisions:
        print(f"In force is {current or 'nothing'}: choose a revision with `edge-calibrate activate`.")
    for change in log:
        instead = f" instead of {change.before}" if change.before else ""
        note = f": {change.note}" if change.note else ""
        print(f"{change.at}  {change.who}  {change.action} {change.revision}{instead}{note}")
    known = {name: c.model_dump(by_alias=True) for name, c in revisions.items() if isinstance(c, Calibration)}
    write_json(arguments.json, {"in_force": current, "revisions": known, "log": [asdict(change) for change in log]})
    return 0


def _in_force(folder: Path) -> str | None:
    try:
        return name_in_force(folder)
    except ThresholdsError as problem:
        print(problem)
        return None


def _read(folder: Path, name: str) -> Calibration | ThresholdsError:
    try:
        return load_calibration(folder, name)
    except ThresholdsError as problem:
        return problem


def _cells(calibration: Calibration) -> list[str]:
    promise = calibration.promise
    return [
        calibration.created.replace("T", " ")[:16],
        calibration.made_by,
        calibration.model,
        f"{calibration.factor:.2f}",
        promised(promise, promise.expected_rate),
        f"{promise.groups} {promise.unit or 'part'}s",
        calibration.note,
    ]
