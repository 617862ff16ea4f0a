"""A station in software: the synthetic part before a camera that delivers on request, or lives and loses frames."""

from __future__ import annotations

import os
import re
import select
import stat
import time
from collections import deque
from pathlib import Path

from edge_agent.camera.faults import Faults
from edge_agent.camera.source import CameraSource, EndOfFrames, FrameInfo, GrabTimeout, wrong_size
from edge_agent.camera.uri import CameraUri
from edge_agent.synthetic import DEFECT_KINDS, SyntheticPart
from engines.errors import CameraError, ConfigError
from engines.images import Frame

_OPTIONS = (
    "seed",
    "size",
    "channels",
    "defects",
    "kinds",
    "frames",
    "live",
    "fps",
    "stamps",
    "fire",
    "fault",
    "fault_at",
    "fault_frames",
)
_SIDE_PX = 64, 8192
# What a V4L2 driver queues before it drops frames.
_BUFFERS = 4
_LONGEST_SILENCE_S = 0.5


def synthetic_camera(uri: CameraUri) -> CameraSource:
    """Make the camera of `synthetic://plate?seed=1&defects=0.3&…`.

    Options: `size=WxH`, `channels`, `kinds=scratch,stain`, `frames` (how many there are), `live=true&fps=25` (a camera
    that does not wait; with `stamps=false` its driver tells no capture times), `fire=PIPE` (a camera that takes a frame
    for every byte written to this named pipe), and for trials of the agent `fault=NAME&fault_at=N&fault_frames=N` (see
    `faults.py`).

    Raises:
        ConfigError: The URI is wrong.
    """
    uri.allow(_OPTIONS)
    part = part_from_uri(uri)
    faults = Faults.from_uri(uri)
    frames = uri.whole("frames", 0, low=0, high=10**12) or None
    is_live = uri.flag("live", default=False)
    if "fire" in uri.options:
        return FiredSyntheticCamera(part, faults, frames, Path(uri.options["fire"]))
    for name in ("fps", "stamps"):
        if name in uri.options and not is_live:
            raise uri.wrong(name, "only concerns a live camera: add live=true")
    # Slower than 1/s cannot be told from a camera that hangs.
    fps = uri.number("fps", 25.0, low=1.0, high=1000.0)
    if not is_live:
        return SyntheticCamera(part, faults, frames)
    return LiveSyntheticCamera(part, faults, frames, fps, stamps=uri.flag("stamps", default=True))


def part_from_uri(uri: CameraUri) -> SyntheticPart:
    """Return the generator behind a synthetic camera, which also knows the truth of every frame.

    Raises:
        ConfigError: The URI is wrong.
    """
    if uri.target != "plate":
        raise ConfigError(f"Camera {uri}: part '{uri.target}' is unknown.", fix="Write synthetic://plate.")
    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", uri.options.get("size", "256x256"))
    if size is None or not all(_SIDE_PX[0] <= int(side) <= _SIDE_PX[1] for side in size.groups()):
        raise uri.wrong("size", f"must be WIDTHxHEIGHT, each from {_SIDE_PX[0]} to {_SIDE_PX[1]}")
    channels = uri.whole("channels", 3, low=1, high=4)
    if channels not in {1, 3, 4}:
        raise uri.wrong("channels", "must be 1 (grey), 3 (BGR) or 4 (BGRx)")
    kinds = uri.options.get("kinds", ",".join(DEFECT_KINDS)).split(",")
    if not set(kinds) <= set(DEFECT_KINDS):
        raise uri.wrong("kinds", f"must be some of {','.join(DEFECT_KINDS)}")
    return SyntheticPart(
        uri.whole("seed", 1, low=0, high=2**31 - 1),
        (int(size[1]), int(size[2])),
        channels,
        uri.number("defects", 0.0, low=0.0, high=1.0),
        kinds,
    )


class SyntheticCamera:
    """Delivers one part after the other, each on request; the next one is drawn while nobody asks."""

    is_live = False
    is_simulated = True
    queued_frames = 0

    def __init__(self, part: SyntheticPart, faults: Faults, frames: int | None) -> None:
        self._part = part
        self._faults = faults
        self._frames = frames
        self._next = 0
        self._ahead: tuple[int, Frame] | None = None
        self._held: tuple[int, Frame | None] | None = None
        self.frame_shape: tuple[int, int, int] | None = None

    def open(self, skip: int = 0, *, is_fired: bool = False) -> None:
        del is_fired
        self._next = skip
        self.frame_shape = self._part.frame_shape

    def prepare(self) -> None:
        if self._ahead is None or self._ahead[0] != self._next:
            self._ahead = self._next, self._part.render(self._next).frame

    def grab(self) -> FrameInfo:
        if self._frames is not None and self._next >= self._frames:
            raise EndOfFrames
        index = self._wait_for_next()
        self._faults.before(index)
        ahead, self._ahead = self._ahead, None
        self._held = index, ahead[1] if ahead is not None and ahead[0] == index else None
        return FrameInfo(str(index), self._driver_ns(index))

    def retrieve(self, into: Frame) -> None:
        if self._held is None:
            raise CameraError("No frame was grabbed.", fix="Call grab() before retrieve().")
        index, drawn = self._held
        frame = self._part.render(index).frame if drawn is None else drawn
        frame = self._faults.applied(index, frame)
        if frame.shape != into.shape:
            raise wrong_size(str(index), frame.shape, into.shape)
        into[...] = frame

    def close(self) -> None:
        self._held = self._ahead = None

    def _driver_ns(self, index: int) -> int | None:
        del index
        return None

    def _wait_for_next(self) -> int:
        self._next += 1
        return self._next - 1


class LiveSyntheticCamera(SyntheticCamera):
    """Exposes at a fixed rate whether or not anybody looks, and queues what nobody takes, as a driver does.

    A queue that is full loses the newest frame, so what it holds grows old: the trap that a station must not fall into.
    """

    is_live = True
    queued_frames = _BUFFERS

    def __init__(self, part: SyntheticPart, faults: Faults, frames: int | None, fps: float, *, stamps: bool) -> None:
        super().__init__(part, faults, frames)
        self._stamps = stamps
        self._interval_ns = round(1e9 / fps)
        self._began_ns = 0
        self._queue: deque[int] = deque()

    def open(self, skip: int = 0, *, is_fired: bool = False) -> None:
        super().open(skip, is_fired=is_fired)
        self._queue.clear()
        self._began_ns = time.monotonic_ns() - skip * self._interval_ns

    def _driver_ns(self, index: int) -> int | None:
        return self._began_ns + (index + 1) * self._interval_ns if self._stamps else None

    def _wait_for_next(self) -> int:
        if not self._queue:
            left_ns = self._began_ns + (self._next + 1) * self._interval_ns - time.monotonic_ns()
            time.sleep(max(left_ns, 0) / 1e9)
        exposed = (time.monotonic_ns() - self._began_ns) // self._interval_ns
        while self._next < exposed or not self._queue:
            if len(self._queue) < _BUFFERS:
                self._queue.append(self._next)
            self._next += 1
        return self._queue.popleft()


class FiredSyntheticCamera(SyntheticCamera):
    """Takes a frame for every byte that somebody writes to a named pipe, as a real one does for every electrical pulse."""

    is_live = True

    def __init__(self, part: SyntheticPart, faults: Faults, frames: int | None, pipe: Path) -> None:
        super().__init__(part, faults, frames)
        self._pipe = pipe
        self._fd = -1

    def open(self, skip: int = 0, *, is_fired: bool = False) -> None:
        super().open(skip, is_fired=is_fired)
        if not self._pipe.exists() or not stat.S_ISFIFO(self._pipe.stat().st_mode):
            raise ConfigError(f"{self._pipe} is no named pipe.", fix=f"Make it: mkfifo {self._pipe}")
        # Open for writing, too: else it would end with the first writer.
        self._fd = os.open(self._pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        super().close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _wait_for_next(self) -> int:
        if not select.select([self._fd], [], [], _LONGEST_SILENCE_S)[0]:
            raise GrabTimeout("Nothing has fired the synthetic camera.", fix=f"Write a byte: printf x > {self._pipe}")
        os.read(self._fd, 1)
        return super()._wait_for_next()
