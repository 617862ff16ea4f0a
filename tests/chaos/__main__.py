"""The long round: kills at random moments, many parts, many frames; every finished one is a row.

    PYTHONPATH=.:tests:benchmarks python -m chaos [kills|walks|calls|control|parts|frames|fuzz ...] [--recipe DIR]

Without a name all of them run, one after the other. A run that was interrupted continues where it was; the table is
written after every study. The recipe must be one of 64 x 64 colour frames of the synthetic plate; without one it is
trained in a minute.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from generated import write_generated
from origin import code_commit, load_average, machine, today
from progress import run_program
from rows import append_row, read_rows
from soak import make_recipe

from chaos.blocks import ask_in_blocks, run_freely_in_blocks
from chaos.decoders import DECODERS
from chaos.fuzz import fuzz
from chaos.kills import kill_again_and_again
from chaos.line import Line
from chaos.outbox_calls import kill_at_calls
from chaos.tables import failures, tables
from chaos.walks import two_recipes, walk_again_and_again
from engines.command_line import track

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "docs" / "results"
CAMERA = "synthetic://plate?size=64x64&seed=1"
# How many there are to be, and how many of them a row holds.
STUDIES = {
    "kills": (500, 1),
    "walks": (200, 1),
    "calls": (40, 1),
    "control": (20, 1),
    "parts": (100_000, 1000),
    "frames": (500_000, 5000),
    "fuzz": (len(DECODERS), 1),
}


def main() -> int:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(dir=ROOT, prefix="benchmark-") as folder:
        recipe = arguments.recipe
        if recipe is None:
            make_recipe(Path(folder))
            recipe = Path(folder) / "recipe"
        for study in arguments.studies or STUDIES:
            try:
                run_study(study, recipe.resolve(), Path(folder) / study, arguments.rows)
            finally:
                write_generated(arguments.table, tables(read_rows(arguments.rows)), title="Chaos")
    found = failures(read_rows(arguments.rows))
    print("\n".join(found) or "nothing was lost, doubled or contradicted, and nothing grew")
    return 1 if found else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=str(__doc__).splitlines()[0])
    parser.add_argument("studies", nargs="*", choices=[*STUDIES, []], metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--rows", type=Path, default=RESULTS / "chaos.jsonl")
    parser.add_argument("--table", type=Path, default=RESULTS / "chaos.md")
    return parser.parse_args()


def run_study(study: str, recipe: Path, folder: Path, rows: Path) -> None:
    wanted, block = STUDIES[study]
    done = sum(row["study"] == study for row in read_rows(rows))
    numbers = range(done, wanted // block)
    if not numbers:
        return
    folder.mkdir()
    origin = {"commit": code_commit(), "machine": machine(), "run": f"{today()} {int(time.time())}"}
    found = islice(figures_of(study, recipe, folder, numbers, block), len(numbers))
    for figures in track(found, label=study, total=len(numbers)):
        append_row(rows, {"study": study, **figures, "load": load_average(), **origin})


def figures_of(study: str, recipe: Path, folder: Path, numbers: range, block: int) -> Iterator[dict[str, Any]]:
    if study == "fuzz":
        yield from (fuzz(name, folder / name) for name in list(DECODERS)[numbers.start :])
        return
    if study == "frames":
        yield from run_freely_in_blocks(recipe, folder, CAMERA, block)
        return
    if study == "walks":
        recipe = two_recipes(recipe, folder)
    line = Line(folder, recipe, CAMERA, trigger={"dedupe_window_s": 60 if study == "walks" else 20})
    try:
        line.start()
        if study == "parts":
            yield from ask_in_blocks(line, block)
        elif study == "walks":
            yield from walk_again_and_again(line, numbers)
        elif study == "calls":
            yield from kill_at_calls(line, numbers)
        else:
            yield from kill_again_and_again(line, numbers, keeps_journal=study == "kills")
    finally:
        line.close()


if __name__ == "__main__":
    sys.exit(run_program(main))
