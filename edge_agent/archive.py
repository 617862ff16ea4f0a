"""Frames worth keeping, in a folder that stays within its bounds: rejects longest, passed parts as a sample.

    <folder>/<day>/<FAIL|INVALID|LATE|PASS>/<time>-<seq>.png    the frame, as the camera gave it
                                            <time>-<seq>.npz    its maps (float16), where the engine gave some
                                            <time>-<seq>.json   its verdict, as it was sent

Each day's and each kind's folder is one that `edge-agent replay` and `edge-calibrate fit --rejects` take.
"""

from __future__ import annotations

import errno
import io
import re
import shutil
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import numpy as np

from engines.images import Frame, encode_png
from engines.runtime import Maps
from engines.untrusted import parse_json

Kind = Literal["FAIL", "INVALID", "LATE", "PASS"]
KINDS: tuple[Kind, ...] = ("FAIL", "INVALID", "LATE", "PASS")
# The outbox must find room: without it every verdict is INVALID.
LEAST_FREE_BYTES = 1 << 28
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_OURS = re.compile(r"(\d{6}\.\d{6}-\d+)\.(png|npz|json|part)")


@dataclass(frozen=True)
class Sighting:
    """One frame with what was said of it; everything is owned by whoever keeps it.

    Attributes:
        kind: The verdict, or that it came too late.
        decided_at: RFC 3339, UTC, microseconds.
        seq: The verdict's.
        frame: (H, W, C) uint8.
        maps: (K, h, w) float32; None where the engine gave none.
        verdict: The message.
    """

    kind: Kind
    decided_at: str
    seq: int
    frame: Frame
    maps: Maps | None
    verdict: bytes


class Archive:
    """A folder of sightings; used by one thread.

    Args:
        folder: Made when it is missing; files that are not ours are left alone and not counted.
        max_bytes: What it may hold.
        keep_days: How long.
        least_free_bytes: What must stay free on its disk.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int, keep_days: int, least_free_bytes: int = LEAST_FREE_BYTES
    ) -> None:
        self.folder = folder
        self._max_bytes, self._keep_days, self._least_free_bytes = max_bytes, keep_days, least_free_bytes
        self._rejected: deque[tuple[Path, int]] = deque()
        self._passed: deque[tuple[Path, int]] = deque()
        # Of a time when nobody had set the clock: how old they are is not known, and only room removes them.
        self._undated: deque[tuple[Path, int]] = deque()
        self._is_open = False
        self.held_bytes = 0

    def add(self, sighting: Sighting, *, today: date | None) -> None:
        """Keep a frame, and remove what is too old or has no room any more.

        Args:
            sighting: What to keep.
            today: None where the clock cannot be trusted: then nothing is too old, and this frame never will be.

        Raises:
            OSError: It could not be kept; what was there before stays, but for the oldest.
        """
        self._open()
        if today is not None:
            self._remove_old(today)
        day, time = sighting.decided_at.rstrip("Z").split("T")
        stem = self.folder / day / sighting.kind / f"{time.replace(':', '')}-{sighting.seq}"
        contents = {".png": encode_png(sighting.frame), ".json": sighting.verdict}
        if sighting.maps is not None:
            contents[".npz"] = _compressed(sighting.maps)
        size = sum(map(len, contents.values()))
        self._make_room(size)
        stem.parent.mkdir(parents=True, exist_ok=True)
        try:
            for suffix, content in contents.items():
                part = Path(f"{stem}.part")
                part.write_bytes(content)
                part.replace(f"{stem}{suffix}")
        except OSError:
            _remove(stem)
            raise
        (self._undated if today is None else self._list_of(sighting.kind)).append((stem, size))
        self.held_bytes += size

    def _open(self) -> None:
        """Find out what is there; removes what a power cut left half-written."""
        if self._is_open:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for day in sorted(path for path in self.folder.iterdir() if _DAY.fullmatch(path.name)):
            sizes: dict[Path, int] = {}
            for path in (path for kind in KINDS for path in (day / kind).glob("*")):
                if match := _OURS.fullmatch(path.name):
                    stem = path.with_name(match[1])
                    sizes[stem] = sizes.get(stem, 0) + path.stat().st_size
                    if match[2] == "part":
                        sizes[stem] -= path.stat().st_size
                        path.unlink()
            for stem in sorted(sizes, key=lambda stem: stem.name):
                self._list_of(stem.parent.name).append((stem, sizes[stem]))
                self.held_bytes += sizes[stem]
        self._is_open = True

    def _list_of(self, kind: str) -> deque[tuple[Path, int]]:
        return self._passed if kind == "PASS" else self._rejected

    def _remove_old(self, today: date) -> None:
        oldest = (today - timedelta(days=self._keep_days)).isoformat()
        for kept in (self._passed, self._rejected):
            while kept and kept[0][0].parts[-3] < oldest:
                if _is_dated(kept[0][0]):
                    self._remove_first(kept)
                else:
                    self._undated.append(kept.popleft())

    def _make_room(self, size: int) -> None:
        if size > self._max_bytes:
            raise OSError(
                errno.EFBIG,
                f"a frame takes {size / 1e6:.1f} MB and the archive holds at most {self._max_bytes / 1e6:.1f} MB; "
                "raise archive.max_mb in the station file",
            )
        while self.held_bytes + size > self._max_bytes or self._free_bytes() < size + self._least_free_bytes:
            if not (self._passed or self._undated or self._rejected):
                raise OSError(
                    errno.ENOSPC,
                    f"the disk of {self.folder} has {self._free_bytes() / 1e6:.0f} MB left, and "
                    f"{self._least_free_bytes / 1e6:.0f} MB must stay free for the verdicts; make room there",
                )
            self._remove_first(self._passed or self._undated or self._rejected)

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    def _remove_first(self, kept: deque[tuple[Path, int]]) -> None:
        stem, size = kept.popleft()
        self.held_bytes -= size
        _remove(stem)
        # A person may have removed them before.
        with suppress(FileNotFoundError):
            for folder in (stem.parent, stem.parent.parent):
                if any(folder.iterdir()):
                    break
                folder.rmdir()


def _is_dated(stem: Path) -> bool:
    """Return whether its verdict says that somebody had set the clock; what says nothing counts as dated."""
    try:
        return parse_json(Path(f"{stem}.json").read_bytes())["clock_synced"] is not False
    except (OSError, ValueError, TypeError, KeyError):
        return True


def _remove(stem: Path) -> None:
    for suffix in (".png", ".npz", ".json", ".part"):
        Path(f"{stem}{suffix}").unlink(missing_ok=True)


def _compressed(maps: Maps) -> bytes:
    content = io.BytesIO()
    # Half precision holds errors up to 65,504 to three digits: enough to look at, and half the space.
    np.savez_compressed(content, maps=np.minimum(maps, np.finfo(np.float16).max).astype(np.float16))
    return content.getvalue()
