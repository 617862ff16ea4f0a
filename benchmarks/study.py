"""A study: several short trainings on one data set, several measurements of each, one row a measurement, resumable."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from generated import write_generated
from jobs import datasets_below
from plans import KEY, Plan, Study
from progress import Pace
from rows import append_row, key_of, read_rows

from engines.errors import AgentError, EngineError, UsageError
from engines.map_choice import CANDIDATES
from engines.processor import prepare_processor

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"


def run_study(study: Study, argv: Sequence[str] | None = None) -> int:
    """Measure what is missing and write the tables; returns the exit code."""
    arguments = parse_arguments(study, argv)
    failed = [] if arguments.table_only else make_rows(study, arguments)
    write_tables(study, arguments)
    for line in failed:
        print(line, file=sys.stderr)
    return EngineError.exit_code if failed else 0


def parse_arguments(study: Study, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=study.title)
    parser.add_argument("--data", type=Path, metavar="DIR", help="a data set in MVTec AD layout")
    parser.add_argument("--size", type=int, default=128, metavar="N", help="size of the maps")
    parser.add_argument("--steps", type=int, default=1000, metavar="N", help="training steps of each network")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    parser.add_argument("--only", metavar="NAMES", help="only these networks, such as plain,restore")
    parser.add_argument("--work", type=Path, default=Path("benchmark-studies"), metavar="DIR", help="for the networks")
    parser.add_argument("--rows", type=Path, default=RESULTS / f"{study.name}.jsonl", metavar="FILE")
    parser.add_argument("--looks", type=Path, default=RESULTS / "looks.md", metavar="FILE")
    parser.add_argument("--table", type=Path, default=RESULTS / f"{study.name}.md", metavar="FILE")
    parser.add_argument("--table-only", action="store_true", help="write the tables of the rows that are there")
    return parser.parse_args(argv)


def write_tables(study: Study, arguments: argparse.Namespace) -> None:
    rows = read_rows(arguments.rows)
    write_generated(arguments.table, study.tables(rows), title=study.title)


def make_rows(study: Study, arguments: argparse.Namespace) -> list[str]:
    """Make the rows that are missing, network by network; returns what cannot be measured, a line each."""
    if arguments.data is None:
        raise UsageError("what to measure on is missing.", fix="Give --data DIR, a data set in MVTec AD layout.")
    prepare_processor()
    from room import Room

    (dataset, folder), *others = datasets_below(arguments.data).items()
    if others:
        raise UsageError(f"{arguments.data} holds several data sets.", fix="Give one of them.")
    there = {key_of(row, KEY) for row in read_rows(arguments.rows)}
    room = Room(study.name, arguments, dataset, folder, study.candidates or CANDIDATES)
    todo = []
    for lesson, measurements in _chosen(study.plan(), arguments.only):
        missing = [item for item in measurements if key_of(room.key(lesson, item), KEY) not in there]
        if missing:
            todo.append((lesson, missing))
    print(f"{sum(len(missing) for _, missing in todo)} rows of {len(todo)} networks are to be made")
    pace, failed = Pace(None), []
    for place, (lesson, missing) in enumerate(todo):
        left = pace.left(len(todo) - place)
        print(f"network {place + 1} of {len(todo)}: {lesson.name}, {len(missing)} rows; {left}", flush=True)
        began_s = time.monotonic()
        try:
            for row in room.measure(lesson, missing):
                append_row(arguments.rows, row)
                write_tables(study, arguments)
        except AgentError as problem:
            failed.append(f"{lesson.name}: {problem}")
            continue
        pace.add(time.monotonic() - began_s)
    return failed


def _chosen(plan: Plan, only: str | None) -> Plan:
    if only is None:
        return plan
    names = only.split(",")
    known = [lesson.name for lesson, _ in plan]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"--only {','.join(unknown)} is not known.", fix=f"Give some of: {', '.join(known)}.")
    return [(lesson, measurements) for lesson, measurements in plan if lesson.name in names]
