"""How often drift is said when nothing has drifted, and how soon when something has.

    python benchmarks/drift.py [RECIPE] [--frames 10000] [--runs 200]

RECIPE is of the synthetic plate, as `make demo` leaves it. The scores and figures of many good frames are measured once
and kept; a run strings blocks of them together, so that neighbours stay neighbours, and counts parts until the first
alarm, or until 500,000. For the delay, every figure is shifted by 2.5 standard deviations of good parts.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from generated import table, write_generated
from origin import code_commit, load_average, machine, today
from progress import run_program
from rows import append_row, latest, read_rows

from calibrate.evaluation import revision_in_force
from calibrate.recipe_engine import RecipeEngine
from edge_agent.decision import score, z_map
from edge_agent.drift import ALLOWANCE, FIGURES, LIMIT, MOST_OF_ONE_PART, figures_of, usual_of
from edge_agent.synthetic import SyntheticPart
from engines.command_line import track
from engines.files import sha256_of
from engines.recipe import MANIFEST, THRESHOLDS_FOLDER

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
CENSORED_AT = 500_000
BLOCK = 50
SHIFT = 2.5
# Frames of the plate that training and calibration never had.
_FIRST_INDEX = 100_000
_BY_CHANCE = np.random.default_rng(0)


def main() -> int:
    arguments = parse_arguments()
    values = measured(arguments.recipe, arguments.frames, arguments.work)
    with closing(RecipeEngine(arguments.recipe)) as engine:
        usual = revision_in_force(engine).calibration.usual
    if not usual:
        first = values[:50]
        usual = usual_of({name: first[:, column].tolist() for column, name in enumerate(FIGURES)})
    distances = np.stack([(values[:, i] - usual[n].middle) / usual[n].spread for i, n in enumerate(FIGURES)], axis=1)
    intervals = first_alarms(distances, arguments.runs, np.zeros(len(FIGURES)), CENSORED_AT)
    row = {
        "date": today(),
        "commit": code_commit(),
        "machine": machine(),
        "load": load_average(),
        "frames": len(values),
        "runs": arguments.runs,
        "calibration_frames": 50,
        "false_alarms": interval_of(intervals, CENSORED_AT),
        "delays": {
            f"{name} {sign * SHIFT:+g}": delay_of(distances, values, arguments.runs, column, sign)
            for column, name in enumerate(FIGURES)
            for sign in (-1, 1)
        },
    }
    append_row(arguments.rows, row)
    write_generated(arguments.table, tables(latest(read_rows(arguments.rows), ["frames", "runs"])), title="Drift")
    print(tables([row]))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("demo/work/recipe"), metavar="RECIPE")
    parser.add_argument("--frames", type=int, default=10_000, metavar="N")
    parser.add_argument("--runs", type=int, default=200, metavar="N")
    parser.add_argument("--work", type=Path, default=Path("benchmark-drift"), metavar="DIR", help="keeps the figures")
    parser.add_argument("--rows", type=Path, default=RESULTS / "drift.jsonl", metavar="FILE")
    parser.add_argument("--table", type=Path, default=RESULTS / "drift.md", metavar="FILE")
    return parser.parse_args()


def measured(recipe: Path, frames: int, work: Path) -> npt.NDArray[np.float64]:
    """Return the watched figures of good frames in order, (frames, 4), measured once."""
    rows = []
    with closing(RecipeEngine(recipe)) as engine:
        thresholds = revision_in_force(engine)
        # The revision's manifest holds the hashes of the model and of all that was fitted.
        revision = sha256_of(recipe / THRESHOLDS_FOLDER / thresholds.name / MANIFEST)
        path = work / f"figures-{frames}-{revision[:12]}.npy"
        if path.is_file():
            return np.asarray(np.load(path))
        height, width, channels = engine.recipe.frame_shape
        part = SyntheticPart(seed=1, size_wh=(width, height), channels=channels)
        for index in track(range(frames), label="good frames"):
            frame = part.render(_FIRST_INDEX + index).frame
            found = figures_of(frame, score(z_map(engine.maps(frame), thresholds), thresholds.min_area_map_px))
            rows.append([found[name] for name in FIGURES])
    work.mkdir(parents=True, exist_ok=True)
    values = np.array(rows)
    np.save(path, values)
    return values


def first_alarms(
    distances: npt.NDArray[np.float64], runs: int, shift: npt.NDArray[np.float64], most: int
) -> npt.NDArray[np.int64]:
    """Return after how many parts each run says drift, `most` where it does not; as `DriftWatch`, all runs at once."""
    count, figures = distances.shape
    random = np.random.default_rng(1)
    sums = np.zeros((runs, figures, 2))
    alarm = np.full(runs, most, np.int64)
    signs = np.array([1.0, -1.0])
    starts = np.zeros(runs, np.int64)
    for part in range(most):
        if part % BLOCK == 0:
            starts = random.integers(0, count - BLOCK + 1, runs)
        now = np.clip(distances[starts + part % BLOCK] + shift, -MOST_OF_ONE_PART, MOST_OF_ONE_PART)
        sums = np.clip(sums + now[:, :, np.newaxis] * signs - ALLOWANCE, 0.0, 2 * LIMIT)
        over = (sums > LIMIT).any(axis=(1, 2))
        alarm[over & (alarm == most)] = part + 1
        if part % 1000 == 0 and (alarm < most).all():
            break
    return alarm


def interval_of(alarms: npt.NDArray[np.int64], most: int) -> dict[str, Any]:
    """Return the mean interval between alarms, parts seen by alarms, with its 95 % bootstrap bounds.

    Runs without an alarm count with all their parts; with no alarm at all the mean is at least all parts.
    """
    said = alarms < most

    def mean(chosen: npt.NDArray[np.int64]) -> float:
        return float(alarms[chosen].sum() / max(1, said[chosen].sum()))

    if not said.any():
        # With no alarm in n parts, the interval is longer than n / 3 with 95 % confidence (the rule of three).
        return {
            "alarms": 0,
            "parts": int(alarms.sum()),
            "mean_interval": mean(np.arange(len(alarms))),
            "interval_95": [float(alarms.sum()) / 3],
        }
    draws = [mean(_BY_CHANCE.integers(0, len(alarms), len(alarms))) for _ in range(2000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {
        "alarms": int(said.sum()),
        "parts": int(alarms.sum()),
        "mean_interval": mean(np.arange(len(alarms))),
        "interval_95": [float(low), float(high)],
    }


def delay_of(
    distances: npt.NDArray[np.float64], values: npt.NDArray[np.float64], runs: int, column: int, sign: int
) -> dict[str, float]:
    """Return median and largest delay of a shift by 2.5 standard deviations of good parts, in parts."""
    shift = np.zeros(len(FIGURES))
    # In the units of the calibration's spread, which is not quite the standard deviation.
    shift[column] = sign * SHIFT * distances[:, column].std()
    delays = first_alarms(distances, runs, shift, 5000)
    return {"median": float(np.median(delays)), "largest": float(delays.max()), "frames": float(len(values))}


def _bounds(bounds: list[float]) -> str:
    return f"at least {bounds[0]:,.0f}" if len(bounds) == 1 else " to ".join(f"{bound:,.0f}" for bound in bounds)


def tables(rows: list[dict[str, Any]]) -> str:
    """Return what the rows say, as Markdown."""
    shown = [
        [
            f"{row['frames']:,}",
            str(row["runs"]),
            f"{row['false_alarms']['alarms']} in {row['false_alarms']['parts']:,} parts",
            f"{'-' if not row['false_alarms']['alarms'] else format(row['false_alarms']['mean_interval'], ',.0f')}",
            _bounds(row["false_alarms"]["interval_95"]),
            row["commit"],
        ]
        for row in rows
    ]
    delays = [
        [name, f"{found['median']:.0f}", f"{found['largest']:.0f}"]
        for row in rows
        for name, found in row["delays"].items()
    ]
    return "\n\n".join(
        [
            "### Alarms while nothing drifts",
            table(["frames", "runs", "alarms", "mean interval, parts", "95 %", "commit"], shown),
            f"### Parts until a shift by {SHIFT} standard deviations is said",
            table(["figure", "median", "largest"], delays),
        ]
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
