"""Train and evaluate one data set, or all below a folder, under a stated budget; one row and one table line each.

    python benchmarks/detection.py --data DIR --minutes 15 [--seeds 0,1,2] [options of `edge-engines train`]
    python benchmarks/detection.py --table-only

Every row is written as soon as it is finished, and the same command makes only those that are not there yet; an
interrupted training continues where it was. The recipes stay in --work. Each row is a look at a test set: choose
nothing by them (see docs/results/looks.md).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from detection_tables import TITLE, tables
from generated import write_generated
from jobs import KEY, Job, add_job_arguments, jobs_of
from looks import note_look
from origin import code_commit, load_average, machine, today
from precisions import FALSE_REJECT_RATE, Figures, measure
from progress import Pace, run_program
from rows import Row, append_row, key_of, read_rows

from engines.errors import AgentError, EngineError
from engines.files import replace_file
from engines.recipe import load_recipe

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
_INTERRUPTED = 130
_OWN_END_S, _END_S = 2.0, 20.0


def main() -> int:
    arguments = parse_arguments()
    failed = [] if arguments.table_only else make_rows(arguments)
    write_generated(arguments.table, tables(read_rows(arguments.rows)), title=TITLE)
    for line in failed:
        print(line, file=sys.stderr)
    return EngineError.exit_code if failed else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="a data set in MVTec AD layout, or a folder of them")
    add_job_arguments(parser)
    parser.add_argument(
        "--this-commit", action="store_true", help="measure again what only another commit of the code has measured"
    )
    parser.add_argument("--work", type=Path, default=Path("benchmark-detection"), metavar="DIR", help="for the recipes")
    parser.add_argument("--rows", type=Path, default=RESULTS / "detection.jsonl", metavar="FILE")
    parser.add_argument("--looks", type=Path, default=RESULTS / "looks.md", metavar="FILE")
    parser.add_argument("--table", type=Path, default=RESULTS / "detection.md", metavar="FILE")
    parser.add_argument("--table-only", action="store_true", help="write the tables of the rows that are there")
    return parser.parse_args()


def make_rows(arguments: argparse.Namespace) -> list[str]:
    """Make the rows that are missing; returns what went wrong, a line each."""
    jobs, commit = jobs_of(arguments), code_commit()
    done = read_rows(arguments.rows)
    there = {key_of(row, KEY) for row in done if not arguments.this_commit or row["commit"] == commit}
    missing = [job for job in jobs if key_of(job.key, KEY) not in there]
    print(f"{len(jobs)} rows, {len(jobs) - len(missing)} of them are there already")
    pace, failed = Pace(arguments.minutes), []
    for place, job in enumerate(missing):
        print(f"row {place + 1} of {len(missing)}: {job.title}; {pace.left(len(missing) - place)}", flush=True)
        began_s = time.monotonic()
        suffix = f"-{commit}" if arguments.this_commit else ""
        try:
            row = make_row(job, arguments.work / f"{job.slug}{suffix}", arguments.looks)
        except AgentError as problem:
            failed.append(f"{job.title}: {problem}")
            print(failed[-1], file=sys.stderr)
            continue
        append_row(arguments.rows, row)
        write_generated(arguments.table, tables(read_rows(arguments.rows)), title=TITLE)
        pace.add(time.monotonic() - began_s)
    return failed


def make_row(job: Job, folder: Path, looks: Path) -> Row:
    """Train, unless that was done before an interruption, and measure."""
    begun, recipe = begin(folder), folder / "recipe"
    if not (recipe / "manifest.json").is_file():
        train(job, recipe)

    def looked(figures: Figures) -> None:
        auroc = figures["image_auroc"]
        note_look(looks, day=today(), commit=code_commit(), dataset=job.dataset, command=job.command, image_auroc=auroc)

    # What an interrupted measurement left: its revisions are not this one's.
    shutil.rmtree(recipe / "thresholds", ignore_errors=True)
    figures, against = measure(recipe, job.folder, folder / "frames.csv", looked=looked)
    return {
        **job.key,
        "command": job.command,
        **begun,
        "commit_measured": code_commit(),
        "load_end": load_average(),
        "false_reject_rate_asked": FALSE_REJECT_RATE,
        "training": training_of(recipe),
        "precisions": figures,
        "against_fp32": against,
    }


def begin(folder: Path) -> dict[str, Any]:
    """Return commit, day, machine and load when the training began that is there, or that begins now."""
    path = folder / "begun.json"
    kept = (folder / "recipe", folder / ".recipe.partial" / "checkpoint")
    if not path.is_file() or not any(place.exists() for place in kept):
        folder.mkdir(parents=True, exist_ok=True)
        content = {"commit": code_commit(), "date": today(), "machine": machine(), "load_begin": load_average()}
        replace_file(path, json.dumps(content).encode())
    begun: dict[str, Any] = json.loads(path.read_text())
    return begun


def train(job: Job, recipe: Path) -> None:
    """Run `edge-engines train` as a user would; Ctrl-C ends it, too, and leaves its checkpoint.

    Raises:
        EngineError: It failed, and has said why.
    """
    program = [sys.executable, "-c", "import sys; from engines.cli import main; sys.exit(main())"]
    with subprocess.Popen([*program, *job.train_words(recipe)]) as training:
        try:
            code = training.wait()
        except KeyboardInterrupt:
            end(training)
            raise
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise EngineError(f"the training ended with exit code {code}.", fix="See its message above.")


def end(training: subprocess.Popen[bytes]) -> None:
    """Wait for a training that Ctrl-C ends, too, or end it where only this program was told to stop."""
    try:
        training.wait(_OWN_END_S)
    except subprocess.TimeoutExpired:
        training.terminate()
        training.wait(_END_S)


def training_of(recipe: Path) -> dict[str, Any]:
    """Return what `training.json` says, and the size of frames and maps."""
    figures: dict[str, Any] = json.loads((recipe / "training.json").read_text())
    loaded = load_recipe(recipe)
    _, height, width = loaded.maps_shape
    return {
        **figures,
        "map_size": f"{width}x{height}",
        "frame_shape": loaded.frame_shape,
        "width": loaded.training.width,
    }


if __name__ == "__main__":
    sys.exit(run_program(main))
