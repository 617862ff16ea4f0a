"""What only a GPU can show, in one command that needs no network: both CUDA bindings, our ring, and TensorRT.

    python benchmarks/gpu.py [--wheels DIR] [--recipe RECIPE] [--out FILE] [--json FILE]
    python benchmarks/gpu.py --carry DIR [--cuda 12] [--tensorrt tensorrt-cu13]

The first runs where `nvidia-smi` lists a GPU: it installs from DIR what is missing there, lets a kernel read the frames
that another process writes into our ring, compares every value with NumPy, and times each way of a frame. The second
fills DIR where there is a network; give it the same version of Python and the same kind of processor.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Where the GPU is, the product need not be installed: its checkout is enough.
sys.path.append(str(ROOT))

from gpu_driver import require_gpu  # noqa: E402 - see above
from gpu_wheels import CUDAS, FLAVOURS, carry, provide  # noqa: E402
from progress import run_program  # noqa: E402

from engines.errors import EngineError  # noqa: E402

RESULTS = ROOT / "docs" / "results"
_FAILED = 1


def main() -> int:
    arguments = parse_arguments()
    if arguments.carry:
        carry(arguments.carry, cuda=arguments.cuda, tensorrt=arguments.tensorrt)
        return 0
    require_gpu()
    left_out = provide(arguments.wheels, arguments.work)
    keep_to(arguments.work)
    try:
        return measure_and_write(arguments, left_out)
    except ModuleNotFoundError as problem:
        raise EngineError(
            f"{problem} ({'; '.join(left_out) or 'everything was carried'}).",
            fix="Install the product, or carry what it needs with `--carry DIR`.",
        ) from problem


def measure_and_write(arguments: argparse.Namespace, left_out: list[str]) -> int:
    """Make the run, once everything is there that this imports; returns the exit code."""
    from generated import write_generated
    from gpu_session import Plan, measure
    from gpu_tables import TITLE, tables
    from rows import append_row, latest, read_rows

    from engines.command_line import write_json

    row = measure(Plan(recipe=arguments.recipe, command=command_of(arguments)), left_out)
    append_row(arguments.rows, row)
    write_generated(arguments.out, tables(latest(read_rows(arguments.rows), ["gpu"])), title=TITLE)
    write_json(arguments.json, row)
    print(tables([row]))
    return _FAILED if row["failed"] else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="packages to install from, filled by --carry")
    parser.add_argument("--recipe", type=Path, metavar="RECIPE", help="for TensorRT: a recipe folder")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.md", metavar="FILE", help="document for the tables")
    parser.add_argument("--rows", type=Path, default=RESULTS / "gpu.jsonl", metavar="FILE", help="one line a run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write this run's figures")
    parser.add_argument("--work", type=Path, default=Path("benchmark-gpu"), metavar="DIR", help="for what is installed")
    parser.add_argument("--carry", type=Path, metavar="DIR", help="fetch the packages, and do nothing else")
    parser.add_argument("--cuda", type=int, choices=CUDAS, default=13, help="--carry: what the driver there supports")
    parser.add_argument("--tensorrt", choices=FLAVOURS, default="tensorrt-rtx", help="--carry: which flavour")
    return parser.parse_args()


def keep_to(work: Path) -> None:
    """Keep plans and their key out of this user's own."""
    for variable in ("CACHE_DIRECTORY", "STATE_DIRECTORY"):
        os.environ[variable] = str((work / variable.split("_")[0].lower()).resolve())


def command_of(arguments: argparse.Namespace) -> str:
    """Return the command without the paths of this machine."""
    wheels, recipe = " --wheels DIR" * bool(arguments.wheels), " --recipe RECIPE" * bool(arguments.recipe)
    return f"python benchmarks/gpu.py{wheels}{recipe}"


if __name__ == "__main__":
    sys.exit(run_program(main))
