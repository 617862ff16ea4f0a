"""Frames for new thresholds, taken while the line goes on: every consecutive valid one, whatever its verdict was.

    <state_dir>/recalibration/<start>/          <start>-0001 where the clock says that an earlier one began later
        collection.json     how many were wanted and are there, and what judged them
        frames.csv          one line a frame: file, result_id, part_id, verdict, score
        frames/             all frames in their order
        rejected/           those that were rejected, once more: a person moves each of them
        good/, defective/   to one of these

Only a person knows whether a rejected part was good. What stays in `rejected` cuts the distribution off at the old
limit, and no promise can be made.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_agent.archive import LEAST_FREE_BYTES
from engines.errors import DatasetError
from engines.files import replace_file
from engines.images import Frame, encode_png
from engines.untrusted import parse_json

FOLDER = "recalibration"
_NAME = re.compile(r"\d{8}T\d{6}Z(-\d{4})?")
COLUMNS = ("file", "result_id", "part_id", "verdict", "score")
STATUS_FILE, FRAMES_FILE = "collection.json", "frames.csv"


@dataclass(frozen=True)
class CollectionStatus:
    """What `collection.json` says.

    Attributes:
        recipe: Name of the recipe that was in force.
        threshold_rev: The revision that judged the frames.
        mode: The camera's: a trigger each, or free run.
        wanted: How many frames were asked for.
        collected: How many are there.
        ended: Why it ended, `complete` or what came between; None while it goes on.
    """

    recipe: str
    threshold_rev: str
    mode: str
    wanted: int
    collected: int = 0
    ended: str | None = None


@dataclass(frozen=True)
class CollectedFrame:
    """One valid frame and its verdict; the frame, (H, W, C) uint8, is owned by whoever keeps it."""

    frame: Frame
    result_id: str
    part_id: str | int | None
    verdict: str
    score: float


class Collection:
    """One collection being written; used by one thread.

    Args:
        folder: New; made here.
        status: What is collected, nothing yet.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, folder: Path, status: CollectionStatus) -> None:
        self.folder, self.status = folder, status
        for name in (".", "frames", "rejected", "good", "defective"):
            (folder / name).mkdir(parents=True, exist_ok=name == ".")
            # Whoever is in the service's group labels, whatever the service's umask is.
            (folder / name).chmod(0o2775)
        (folder / FRAMES_FILE).write_text(_line(COLUMNS), encoding="utf-8")
        self._say()

    def add(self, one: CollectedFrame) -> None:
        """Keep a frame; the last one ends the collection, and so does a disk without room.

        Raises:
            OSError: It could not be kept, and the collection has ended with the frames before.
        """
        if self.status.ended is not None:
            return
        try:
            self._write(one)
        except OSError:
            _forget_frame(self.folder, self.status.collected)
            self.end("disk")
            raise
        self._change(collected=self.status.collected + 1)
        if self.status.collected == self.status.wanted:
            self.end("complete")

    def end(self, why: str) -> None:
        """Take no more frames; a later reason does not change the first.

        Raises:
            OSError: It could not be written down; a reader sees a collection that never ended.
        """
        if self.status.ended is None:
            self._change(ended=why)
            self._say()

    def _write(self, one: CollectedFrame) -> None:
        content = encode_png(one.frame)
        free = shutil.disk_usage(self.folder).free
        if free < len(content) + LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, f"the disk of {self.folder} has only {free / 1e6:.0f} MB left")
        name = f"{self.status.collected:06}.png"
        path = self.folder / "frames" / name
        path.write_bytes(content)
        if one.verdict == "FAIL":
            (self.folder / "rejected" / name).write_bytes(content)
        with (self.folder / FRAMES_FILE).open("a", encoding="utf-8") as lines:
            lines.write(_line((name, one.result_id, one.part_id, one.verdict, f"{one.score:.6g}")))

    def _change(self, **changes: int | str) -> None:
        self.status = CollectionStatus(**{**asdict(self.status), **changes})

    def _say(self) -> None:
        replace_file(self.folder / STATUS_FILE, json.dumps(asdict(self.status), indent=1).encode())


def read_status(folder: Path) -> CollectionStatus:
    """Read what a collection says of itself.

    Raises:
        DatasetError: It is damaged.
    """
    path = folder / STATUS_FILE
    try:
        return CollectionStatus(**parse_json(path.read_bytes()))
    except (OSError, ValueError, TypeError) as problem:
        raise DatasetError(f"{path} is damaged: {problem}.", fix="Remove that folder and collect again.") from problem


def next_folder(state_dir: Path) -> Path:
    """Return where a collection that begins now goes: behind all that are there, whatever the clock says."""
    start = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    there = state_dir / FOLDER
    names = [path.name for path in there.iterdir()] if there.is_dir() else []
    last = max(filter(_NAME.fullmatch, names), default="")
    if start <= last:
        latest, _, number = last.partition("-")
        start = f"{latest}-{int(number or 0) + 1:04}"
    return there / start


def collections_below(state_dir: Path) -> list[Path]:
    """Return the folders of all collections of a station, the oldest first."""
    return sorted(path.parent for path in (state_dir / FOLDER).glob(f"*/{STATUS_FILE}"))


def end_abandoned(state_dir: Path) -> None:
    """Mark collections as ended that an earlier start of the agent left.

    Raises:
        OSError: That could not be written.
    """
    for folder in collections_below(state_dir):
        with suppress(DatasetError):
            status = read_status(folder)
            if status.ended is None:
                with (folder / FRAMES_FILE).open(encoding="utf-8") as lines:
                    collected = max(0, sum(1 for _ in lines) - 1)
                _forget_frame(folder, collected)
                ended = CollectionStatus(**{**asdict(status), "collected": collected, "ended": "restart"})
                replace_file(folder / STATUS_FILE, json.dumps(asdict(ended), indent=1).encode())


def _forget_frame(folder: Path, number: int) -> None:
    """Remove a frame that has no line: nobody would know that it was rejected, and it would count as good."""
    for name in ("frames", "rejected"):
        (folder / name / f"{number:06}.png").unlink(missing_ok=True)


def _line(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if value is None else value for value in values])
    return text.getvalue()
