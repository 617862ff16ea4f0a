"""What is to be trained and measured: one data set, one seed, one budget, one set of options."""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rows import Row, key_of

from engines.errors import NoInputError, UsageError

KEY = ("dataset", "seed", "budget", "options")
# Options of `edge-engines train` that are handed through; those without a value are marked.
_WITH_VALUE = ("objective", "errors", "size", "tiles", "resize", "width", "device")
_SWITCHES = ("rotates", "qat")


@dataclass(frozen=True)
class Job:
    """One row to be made.

    Attributes:
        dataset: Its name, the same wherever the data lie.
        folder: Where it lies.
        seed: Of the training.
        budget: `minutes` or `steps`, and how many.
        options: Options of `edge-engines train` that were given, and nothing else.
    """

    dataset: str
    folder: Path
    seed: int
    budget: Mapping[str, float]
    options: Mapping[str, Any]

    @property
    def key(self) -> Row:
        """The entries by which its row is found again."""
        return {"dataset": self.dataset, "seed": self.seed, "budget": dict(self.budget), "options": dict(self.options)}

    @property
    def slug(self) -> str:
        """A name for its folder: for people, with a hash of the whole key for the program."""
        digest = hashlib.sha256(key_of(self.key, KEY).encode()).hexdigest()[:8]
        return f"{self.part}-{'-'.join(words_of(self.budget)).replace('--', '')}-seed{self.seed}-{digest}"

    @property
    def part(self) -> str:
        """The data set's name as a recipe may be called."""
        return re.sub(r"[^A-Za-z0-9._-]", "-", self.dataset).lstrip("._-")[:64] or "part"

    @property
    def title(self) -> str:
        """One line for people."""
        given = " ".join([*words_of(self.budget), *words_of(self.options)])
        return f"{self.dataset}, seed {self.seed}, {given}"

    @property
    def command(self) -> str:
        """The command that makes its row, DATA being the folder of the data sets."""
        words = ["--data", f"DATA/{self.dataset}", *words_of(self.budget), "--seeds", str(self.seed)]
        return " ".join(["python benchmarks/detection.py", *words, *words_of(self.options)])

    def train_words(self, recipe: Path) -> list[str]:
        """Return the words after `edge-engines` that train its recipe."""
        words = ["train", str(self.folder / "train" / "good"), "--recipe", str(recipe), "--name", self.part]
        return [*words, "--seed", str(self.seed), *words_of(self.budget), *words_of(self.options)]


def words_of(options: Mapping[str, Any]) -> list[str]:
    """Return options as words of a command line."""
    words = []
    for name, value in options.items():
        words.append(f"--{name}")
        if value is not True:
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    return words


def label_of(row: Row) -> list[str]:
    """Return data set and options of a row as two cells of a table."""
    return [row["dataset"], " ".join(words_of(row["options"])) or "defaults"]


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what decides which rows there are."""
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, metavar="M", help="training time of each row")
    length.add_argument("--steps", type=int, metavar="N", help="training steps of each row")
    parser.add_argument("--seeds", default="0", metavar="N,N", help="seeds, one row each")
    for name in _WITH_VALUE:
        parser.add_argument(f"--{name}", metavar=name.upper(), help="as `edge-engines train` has it")
    for name in _SWITCHES:
        parser.add_argument(f"--{name}", action="store_true", help="as `edge-engines train` has it")


def jobs_of(arguments: argparse.Namespace) -> list[Job]:
    """Return one job for each data set and seed.

    Raises:
        UsageError: The budget or the seeds are missing or not understood.
        NoInputError: There is no data set.
    """
    if arguments.data is None or (arguments.minutes is None and arguments.steps is None):
        raise UsageError("what to measure is missing.", fix="Give --data DIR, and --minutes M or --steps N.")
    if not re.fullmatch(r"\d+(,\d+)*", arguments.seeds):
        raise UsageError(f"--seeds {arguments.seeds} is not understood.", fix="Give numbers, such as 0,1,2.")
    budget = {"minutes": arguments.minutes} if arguments.minutes is not None else {"steps": arguments.steps}
    given = {name: getattr(arguments, name) for name in (*_WITH_VALUE, *_SWITCHES)}
    options = {name: value for name, value in given.items() if value}
    seeds = [int(word) for word in arguments.seeds.split(",")]
    return [
        Job(name, folder, seed, budget, options)
        for name, folder in datasets_below(arguments.data).items()
        for seed in dict.fromkeys(seeds)
    ]


def datasets_below(root: Path) -> dict[str, Path]:
    """Return the data sets by name: the folder itself, or all below it, named by their path from there.

    Raises:
        NoInputError: There is none.
    """
    root = root.resolve()
    if (root / "train" / "good").is_dir():
        return {root.name: root}
    folders = sorted(good.parent.parent for good in root.rglob("train/good") if good.is_dir())
    if not folders:
        raise NoInputError(f"{root} holds no data set.", fix="Give a folder with train/good and test, or one above it.")
    return {folder.relative_to(root).as_posix(): folder for folder in folders}
