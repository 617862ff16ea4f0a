"""A station's collection as good frames for `fit`, and what a person has said of those that were rejected."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibrate.groups import write_blocks
from edge_agent.collection import FRAMES_FILE, CollectionStatus, collections_below, read_status
from edge_agent.command_client import send_command
from edge_agent.command_intake import RECALIBRATE
from edge_agent.station import Station
from engines.command_line import track
from engines.errors import DatasetError, DeviceError, NoInputError
from engines.files import replace_file
from engines.sample_split import GROUPS_FILE

_LOOK_S = 0.5


@dataclass(frozen=True)
class Collected:
    """A collection that has ended.

    Attributes:
        folder: See `edge_agent.collection`.
        images: All its frames, with their groups.
        status: What it says of itself.
        defective: Names of the frames that a person has put into `defective`; one that had passed may be among them.
        unlabelled: Names of the rejected frames that nobody has moved yet.
    """

    folder: Path
    images: Path
    status: CollectionStatus
    defective: tuple[str, ...]
    unlabelled: tuple[str, ...]


def ask_for_collection(station: Station, frames: int) -> Path:
    """Have a running agent collect frames, and return the folder where it does.

    Raises:
        PublishError: It cannot be reached.
        DeviceError: It refuses.
        NoInputError: It collects elsewhere.
    """
    before = set(collections_below(station.state_dir))
    reply = send_command(station, RECALIBRATE, frames=frames)
    if not reply.get("ok"):
        raise DeviceError(
            f"station {station.site}/{station.station} does not collect: {reply.get('problem')}",
            fix="To use what is there already, leave out --frames.",
        )
    # Not the newest by its name: that is the time, which is wrong where the clock was not set.
    new = [folder for folder in collections_below(station.state_dir) if folder not in before]
    if not new:
        raise NoInputError(
            f"the agent of {station.site}/{station.station} collects, but not below {station.state_dir}.",
            fix="Give the station file that it runs with, on its machine.",
        )
    return new[-1]


def newest_collection(station: Station) -> Path:
    """Return the folder of a station's collection with the latest start.

    Raises:
        NoInputError: There is none.
    """
    folders = collections_below(station.state_dir)
    if not folders:
        raise NoInputError(
            f"{station.state_dir} holds no collection.", fix="Add --frames N: the running agent then collects so many."
        )
    return folders[-1]


def read_collection(folder: Path, recipe_name: str) -> Collected:
    """Wait for the end of a collection, and read it.

    Args:
        folder: See `edge_agent.collection`.
        recipe_name: What the thresholds are for.

    Raises:
        DatasetError: It is damaged, empty, or of another recipe.
    """
    status = read_status(folder)
    for _ in track(_arrivals(folder), label="collecting", total=status.wanted):
        pass
    status = read_status(folder)
    if status.recipe != recipe_name:
        raise DatasetError(
            f"{folder} was collected with the recipe {status.recipe}.", fix="Collect again: add --frames N."
        )
    rows = _rows(folder)
    if not rows:
        raise DatasetError(
            f"{folder} holds no frame: it ended with `{status.ended}`.", fix="Collect again: --frames N."
        )
    images = folder / "frames"
    _write_groups(images, status, rows)
    collected = {row["file"] for row in rows}
    rejected = {row["file"] for row in rows if row["verdict"] == "FAIL"}
    good, defective = (_names(folder / name) for name in ("good", "defective"))
    if strange := (good | defective) - collected:
        raise DatasetError(
            f"{folder}: {', '.join(sorted(strange))} in `good` or `defective` is the name of no collected frame.",
            fix="Give it the name that it has in `frames`, or take it away.",
        )
    if both := good & defective:
        raise DatasetError(
            f"{folder}: {', '.join(sorted(both))} lie in `good` and in `defective`.", fix="Leave each in one of them."
        )
    return Collected(folder, images, status, tuple(sorted(defective)), tuple(sorted(rejected - good - defective)))


def _arrivals(folder: Path) -> Iterator[None]:
    """Yield once a frame until the collection has ended."""
    seen = 0
    while read_status(folder).ended is None:
        time.sleep(_LOOK_S)
        there = len(_rows(folder))
        yield from [None] * (there - seen)
        seen = there


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / FRAMES_FILE).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")} if folder.is_dir() else set()


def _write_groups(images: Path, status: CollectionStatus, rows: Sequence[dict[str, str]]) -> None:
    """Say what is one part: in free run nobody knows, and frames that follow each other are one block."""
    if status.mode == "free_run":
        write_blocks(images)
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "group"])
    table.writerows([row["file"], f"part {row['part_id']}" if row["part_id"] else row["file"]] for row in rows)
    replace_file(images / GROUPS_FILE, text.getvalue().encode())
