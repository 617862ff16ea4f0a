"""How much longer `edge-calibrate fit` takes than the pure inference of the same number of frames.

    python benchmarks/fit_time.py [--frames 10000] [--turn-s 6]

Frames of the synthetic plate, 256 x 256 in colour, and a recipe with maps of 256 x 256 are made in --work and kept;
speed does not depend on how long the recipe was trained. The real command and the bare inference of frames that are in
memory take turns of a few seconds, one always stopped while the other runs, so that whatever else the machine does
slows both: each second of the fit is counted as the frames that inference does in the turn right after it. What the fit
finishes is read from its progress bars, so the sensitivity card, whose length does not depend on the frames, stands
apart.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from generated import table, write_generated
from origin import code_commit, load_average, machine, today
from progress import run_program
from rows import Row, append_row, latest, read_rows
from turns import Inference, Turns, take_turns

from calibrate.cli import main as calibrate
from calibrate.recipe_engine import RecipeEngine
from edge_agent.synthetic import SyntheticPart
from engines.cli import main as make_engines
from engines.command_line import track
from engines.errors import EngineError
from engines.images import encode_png, list_images
from engines.recipe import load_recipe

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
SIZE_PX = 256
MOST = 1.3
CARD = "sensitivity card"
_TRAINING_FRAMES, _TRAINING_STEPS = 120, 200
# Training has the frames from 0 on, the fit new ones.
_FIRST_INDEX = 100_000
_IN_MEMORY = 500
_KEY = ("frames",)


def main() -> int:
    arguments = parse_arguments()
    recipe = make_recipe(arguments.work)
    images = make_frames(arguments.work / f"frames-{arguments.frames}", arguments.frames, first=_FIRST_INDEX)
    row = measure(recipe, images, arguments.frames, arguments.turn_s)
    append_row(arguments.rows, row)
    rows = latest(read_rows(arguments.rows), _KEY)
    write_generated(arguments.table, tables(rows), title="Thresholds", part="fit time")
    print(tables([row]))
    return 0 if row["ratio"] <= MOST else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000, metavar="N")
    parser.add_argument("--turn-s", type=float, default=6.0, metavar="S", help="length of the fit's turns")
    parser.add_argument("--work", type=Path, default=Path("benchmark-fit-time"), metavar="DIR")
    parser.add_argument("--rows", type=Path, default=RESULTS / "fit-time.jsonl", metavar="FILE")
    parser.add_argument("--table", type=Path, default=RESULTS / "thresholds.md", metavar="FILE")
    return parser.parse_args()


def make_frames(folder: Path, count: int, *, first: int) -> Path:
    """Draw good frames of the synthetic plate, unless they are there; returns the folder."""
    if not folder.is_dir():
        partial = folder.with_name(f".{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        part = SyntheticPart(seed=1, size_wh=(SIZE_PX, SIZE_PX))
        for index in track(range(first, first + count), label="drawing frames"):
            (partial / f"{index:06d}.png").write_bytes(encode_png(part.render(index).frame))
        partial.rename(folder)
    return folder


def make_recipe(work: Path) -> Path:
    """Train a recipe with maps of 256 x 256, unless it is there.

    Raises:
        EngineError: The training failed, and has said why.
    """
    recipe = work / "recipe"
    if not (recipe / "manifest.json").is_file():
        images = make_frames(work / "training", _TRAINING_FRAMES, first=0)
        words = ["--name", "plate", "--size", str(SIZE_PX), "--steps", str(_TRAINING_STEPS), "--device", "cpu"]
        if make_engines(["train", str(images), "--recipe", str(recipe), *words]):
            raise EngineError("the training failed.", fix="See its message above.")
    return recipe


def measure(recipe: Path, images: Path, frames: int, turn_s: float) -> Row:
    """Fit on the frames in turns with their inference.

    Raises:
        EngineError: The fit failed, and has said why.
    """
    commit = code_commit()
    with tempfile.TemporaryDirectory(prefix="fit-time-") as scratch, closing(RecipeEngine(recipe)) as engine:
        copy = shutil.copytree(recipe, Path(scratch) / "recipe")
        inference = Inference(engine, [engine.read(path) for path in list_images(images)[:_IN_MEMORY]])
        program = [sys.executable, "-c", f"import sys; from {calibrate.__module__} import main; sys.exit(main())"]
        words = ["fit", str(copy), "--images", str(images), "--false-reject-rate", "0.01", "--engine", "cpu"]
        turns = take_turns([*program, *words], inference, Path(scratch) / "log", turn_s=turn_s)
        if turns.code:
            raise EngineError(f"the fit ended with exit code {turns.code}: {turns.said}", fix="See its message.")
    return {
        "frames": frames,
        "frame": [SIZE_PX, SIZE_PX, 3],
        "maps": load_recipe(recipe).maps_shape,
        "commit": commit,
        "date": today(),
        "machine": machine(),
        "load": load_average(),
        "turns": len(turns.inference_ms),
        "inference_ms": turns.median_inference_ms,
        "ratio": ratio_of(turns, frames, [CARD]),
        "ratio_with_card": ratio_of(turns, frames, []),
        "parts": {label: cost / frames for label, cost in turns.cost_frames.items()},
        "peak_mb": turns.peak_mb,
    }


def ratio_of(turns: Turns, frames: int, leave_out: list[str]) -> float:
    """Return the fit's time over that of the inference of so many frames, without some of its parts."""
    return sum(cost for label, cost in turns.cost_frames.items() if label not in leave_out) / frames


def tables(rows: list[Row]) -> str:
    """Return what the rows say, as Markdown."""
    titles = [
        "frames",
        "fit over inference",
        "with the card",
        "one inference",
        "peak memory",
        "turns",
        "load",
        "commit",
    ]
    totals = [
        [
            f"{row['frames']:,}",
            f"**{row['ratio']:.2f}**",
            f"{row['ratio_with_card']:.2f}",
            f"{row['inference_ms']:.1f} ms",
            f"{row['peak_mb']:.0f} MB",
            str(row["turns"]),
            f"{row['load']:.1f}",
            row["commit"],
        ]
        for row in rows
    ]
    parts = [[f"{row['frames']:,}", label, f"{share:.3f}"] for row in rows for label, share in row["parts"].items()]
    return "\n\n".join(
        [
            "### Time of a fit, in inferences of the same frames",
            table(titles, totals),
            table(["frames", "part of the fit", "over inference"], parts),
        ]
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
