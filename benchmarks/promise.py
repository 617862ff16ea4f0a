"""Does the promise of `edge-calibrate fit` hold? 200 random splits of good parts that the network never saw.

    python benchmarks/promise.py --recipe RECIPE --data DATASET [--draws 200] [--leak]

The network's own frames give location and scale; every other good frame of the data set, `test/good` among them, is
scored once, and the scores are split by group again and again. Where a promise does not hold, the program ends with exit
code 1. `--leak` lets frames that trained the network into the calibration: then it must.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from generated import percent, table, write_generated
from looks import note_look
from origin import code_commit, load_average, machine, today
from progress import run_program
from promise_draws import Scored, contamination, keeps_promise, ordered_in_time, promise_in_draws
from rows import Row, append_row, latest, read_rows

from calibrate.conformal import conformal_factor
from calibrate.dataset import list_labelled
from calibrate.good_frames import FitFrame, assign_uses
from calibrate.recipe_engine import RecipeEngine
from calibrate.usual_frames import UsualFrames
from edge_agent.decision import score
from engines.command_line import track
from engines.sample_split import GROUPS_FILE

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
WISHES = (0.10, 0.05, 0.02)
INTRUDERS = (1, 2)
_KEY = ("dataset", "recipe_commit", "leak")


def main() -> int:
    arguments = parse_arguments()
    row = measure(arguments)
    append_row(arguments.rows, row)
    rows = [row for row in latest(read_rows(arguments.rows), _KEY) if not row["leak"]]
    write_generated(arguments.table, tables(rows), title="Thresholds: does the promise hold?")
    for wish, found in row["promises"].items():
        print(f"{row['dataset']} {float(wish):.0%}: {_words(found)}")
    kept = all(found is None or keeps_promise(found) for found in row["promises"].values())
    print("Every promise holds." if kept else "A promise does not hold.")
    return 0 if kept else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, required=True, metavar="RECIPE", help="made from the data's train/good")
    parser.add_argument("--data", type=Path, required=True, metavar="DATASET", help="in MVTec AD layout")
    parser.add_argument("--draws", type=int, default=200, metavar="N")
    parser.add_argument("--leak", action="store_true", help="let frames that trained the network into the calibration")
    parser.add_argument("--rows", type=Path, default=RESULTS / "thresholds.jsonl", metavar="FILE")
    parser.add_argument("--table", type=Path, default=RESULTS / "thresholds.md", metavar="FILE")
    parser.add_argument("--looks", type=Path, default=RESULTS / "looks.md", metavar="FILE")
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> Row:
    data: Path = arguments.data
    uses = assign_uses(arguments.recipe, data / "train" / "good")
    labelled = list_labelled(data)
    with closing(RecipeEngine(arguments.recipe)) as engine:
        scores = _Scores(engine, [frame for frame in uses if frame.use == "location"])
        aside = scores.of_known([frame for frame in uses if frame.use == "factor"], "set aside")
        test = scores.of([(f.path, f"test {f.group}") for f in labelled if f.is_good], "test/good")
        defective = scores.of([(f.path, f.group) for f in labelled if not f.is_good], "defective")
        leaked = (
            scores.of_known([f for f in uses if f.use == "location"], "seen by the network") if arguments.leak else []
        )
    unseen = [*aside, *test]
    command = f"python benchmarks/promise.py --recipe RECIPE --data DATA/{data.name}"
    note_look(arguments.looks, day=today(), commit=code_commit(), dataset=data.name, command=command, image_auroc=None)
    return {
        "dataset": data.name,
        "leak": arguments.leak,
        "command": command,
        "commit": code_commit(),
        "recipe_commit": engine.recipe.revision,
        "date": today(),
        "machine": machine(),
        "load": load_average(),
        "promises": {
            str(wish): promise_in_draws(unseen, wish=wish, draws=arguments.draws, leaked=leaked) for wish in WISHES
        },
        # Without groups.csv nobody knows the order.
        "in_time": {
            str(wish): ordered_in_time(unseen, wish=wish)
            for wish in WISHES
            if (data / "train" / "good" / GROUPS_FILE).is_file()
        },
        "fit_aside_test_good": _fit_aside(aside, test, defective),
        "contamination": [
            {
                "wish": wish,
                "intruders": intruders,
                "found": contamination(
                    unseen, [f.score for f in defective], wish=wish, intruders=intruders, draws=arguments.draws
                ),
            }
            for wish in WISHES
            for intruders in INTRUDERS
        ],
    }


class _Scores:
    """Scores frames with location and scale of those that the network knows."""

    def __init__(self, engine: RecipeEngine, known: Sequence[FitFrame]) -> None:
        self._engine = engine
        self._min_area = max(1, engine.recipe.box_map_px**2 // 4)
        usual = UsualFrames(self._min_area, max(WISHES))
        for frame in track(known, label="location and scale"):
            loaded = engine.load(frame.path)
            usual.add(frame.path.name, engine.maps(loaded.pixels), engine.padding(loaded))
        self._location, self._scale = usual.location_and_scale()

    def of_known(self, frames: Sequence[FitFrame], label: str) -> list[Scored]:
        return self.of([(frame.path, frame.group) for frame in frames], label)

    def of(self, frames: Sequence[tuple[Path, str]], label: str) -> list[Scored]:
        return [Scored(group, self._score(path)) for path, group in track(frames, label=label)]

    def _score(self, path: Path) -> float:
        loaded = self._engine.load(path)
        z = ((self._engine.maps(loaded.pixels) - self._location) / self._scale).sum(axis=0)
        padding = self._engine.padding(loaded)
        if padding is not None:
            z[padding] = 0.0
        return score(z, self._min_area)


def _fit_aside(aside: Sequence[Scored], test: Sequence[Scored], defective: Sequence[Scored]) -> dict[str, Any]:
    """Fit on the set-aside frames only, as a technician would, and count on the test frames."""
    groups: dict[str, float] = {}
    for frame in aside:
        groups[frame.group] = max(frame.score, groups.get(frame.group, frame.score))
    wish = max(0.05, 1 / (len(groups) + 1))
    factor, promise = conformal_factor(list(groups.values()), wished_rate=wish, confident=False, frames=len(aside))
    return {
        "promised": promise.expected_rate,
        "bound_95": promise.bound_95,
        "groups": len(groups),
        "good": len(test),
        "rejected": sum(frame.score > factor for frame in test),
        "defective": len(defective),
        "caught": sum(frame.score > factor for frame in defective),
    }


def tables(rows: Sequence[Row]) -> str:
    """Return what the rows say, as Markdown."""
    split = [
        "data set",
        "wish",
        "groups that calibrate",
        "promised",
        "rejected, mean",
        "beyond the 95 % quantile",
        "kept",
    ]
    intruders = ["data set", "wish", "intruders", "recall without", "recall with", "good rejected (promised)", "named"]
    return "\n\n".join(
        [
            "### Random splits",
            table(split, _promise_rows(rows)),
            "### One split in the order of time",
            table(["data set", "wish", "promised", "groups rejected later"], _time_rows(rows)),
            "### Fitted on the set-aside frames, counted on the test frames",
            table(["data set", "promise", "good rejected", "defective caught"], _aside_rows(rows)),
            "### Defective frames among the calibration's",
            table(intruders, _contamination_rows(rows)),
        ]
    )


def _promise_rows(rows: Sequence[Row]) -> Iterator[list[str]]:
    for row in rows:
        for wish, found in row["promises"].items():
            cells = ["half of the groups cannot promise it", "-", "-", "-", "-"]
            if found is not None:
                cells = [
                    f"{found['calibration_groups']} of {found['groups']}",
                    percent(found["promised"]),
                    f"{percent(found['mean_rate'])} ± {percent(found['standard_error'])}",
                    f"{found['beyond']} of {found['draws']}",
                    "yes" if keeps_promise(found) else "**no**",
                ]
            yield [row["dataset"], percent(float(wish), 0), *cells]


def _time_rows(rows: Sequence[Row]) -> Iterator[list[str]]:
    for row in rows:
        for wish, found in row["in_time"].items():
            if found is not None:
                rejected = f"{found['rejected']} of {found['groups']}"
                yield [row["dataset"], percent(float(wish), 0), percent(found["promised"]), rejected]


def _aside_rows(rows: Sequence[Row]) -> Iterator[list[str]]:
    for row in rows:
        found = row["fit_aside_test_good"]
        promised = f"{percent(found['promised'])}, bound {percent(found['bound_95'])}, from {found['groups']}"
        caught = f"{found['caught']} of {found['defective']}"
        yield [row["dataset"], promised, f"{found['rejected']} of {found['good']}", caught]


def _contamination_rows(rows: Sequence[Row]) -> Iterator[list[str]]:
    for row in rows:
        for part in row["contamination"]:
            if (found := part["found"]) is not None:
                yield [
                    row["dataset"],
                    percent(part["wish"], 0),
                    str(part["intruders"]),
                    f"{found['clean_recall']:.3f}",
                    f"{found['recall']:.3f}",
                    f"{percent(found['mean_rate'])} ({percent(found['promised'])})",
                    percent(found["named"], 0),
                ]


def _words(found: dict[str, Any] | None) -> str:
    if found is None:
        return "half of the groups cannot promise it"
    return (
        f"promised {found['promised']:.2%}, rejected {found['mean_rate']:.2%} ± {found['standard_error']:.2%}, "
        f"{found['beyond']} of {found['draws']} draws beyond"
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
