"""What a recipe knows of the frames that training got."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from calibrate.groups import merged_names
from engines.recipe import IMAGES_FILE
from engines.sample_split import Sample


@dataclass(frozen=True)
class KnownFrames:
    """The content of a recipe's `images.csv`, by pixel hash.

    Attributes:
        uses: What training did with each frame: `trained`, `tuning` or `set_aside`.
        groups: The part or block of time that each belongs to; groups that share a picture are one.
        names: Of their files.
    """

    uses: dict[str, str]
    groups: dict[str, str]
    names: frozenset[str]

    def has_taught(self, sha256: str) -> bool:
        """Whether the network, or the choice of its settings, has seen the frame."""
        return self.uses.get(sha256) in ("trained", "tuning")

    def say_too_little(self, uses: Iterable[tuple[str, str]]) -> bool:
        """Whether new frames had to say what is usual, too.

        Args:
            uses: Pixel hash and use (`location`, `factor` or `excluded`) of each frame of a fit.
        """
        return any(use == "location" and not self.has_taught(sha256) for sha256, use in uses)

    def doubt(self, frames: Mapping[str, str]) -> str:
        """Say what the promise rests on where no frame is known: a picture saved anew has other pixels.

        Args:
            frames: File name by pixel hash.

        Returns:
            Two sentences; empty where a frame is known.
        """
        if self.uses.keys() & frames.keys():
            return ""
        same = len(self.names.intersection(frames.values()))
        though = f", but on {same} that are called like one of them" if same else ""
        return (
            f"This rests on no picture that the recipe knows{though}. If they are its training pictures saved anew, the "
            "promise is false."
        )


def read_known_frames(recipe_folder: Path) -> KnownFrames:
    """Read a recipe's `images.csv`."""
    with (recipe_folder / IMAGES_FILE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    samples = [Sample(Path(row["file"]), row["sha256"], row["group"]) for row in rows]
    return KnownFrames(
        uses={row["sha256"]: row["use"] for row in rows},
        groups=merged_names(samples),
        names=frozenset(row["file"] for row in rows),
    )
