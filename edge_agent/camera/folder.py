"""A folder of recorded frames as a camera."""

from __future__ import annotations

from pathlib import Path

from edge_agent.camera.pace import Pace
from edge_agent.camera.source import EndOfFrames, FrameInfo, wrong_size
from edge_agent.camera.uri import CameraUri
from engines.errors import CameraError, ConfigError, FrameError, NoInputError
from engines.images import Frame, list_images, read_image

_OPTIONS = ("pace", "recursive", "loop")


class FolderCamera:
    """Delivers the images of a folder by name, one a request.

    `folder://DIR?pace=request|recorded|FPS&recursive=true&loop=true`. With a rate, frames come no faster than that and
    none is lost; with `recorded`, they come as far apart as the files were written (1 s at most), and those that nobody
    takes are lost, as with a real camera.
    """

    is_simulated = True
    queued_frames = 0

    def __init__(self, uri: CameraUri) -> None:
        uri.allow(_OPTIONS)
        if not uri.target:
            raise ConfigError(
                f"Camera {uri} names no folder.", fix="Write folder://DIR, or folder:///DIR for an absolute path."
            )
        self._folder = Path(uri.target)
        self._recursive = uri.flag("recursive", default=False)
        self._loop = uri.flag("loop", default=False)
        pace = uri.options.get("pace", "request")
        self.is_live = pace == "recorded"
        self._interval_ns = 0
        if pace not in {"request", "recorded"}:
            # Slower than 1/s cannot be told from a camera that hangs.
            self._interval_ns = round(1e9 / uri.number("pace", 0.0, low=1.0, high=10_000.0))
        self.frame_shape: tuple[int, int, int] | None = None
        self._paths: list[Path] = []
        self._next = 0
        self._pace = Pace()
        self._held: tuple[str, Frame | FrameError] | None = None
        self._ahead: tuple[int, Frame | FrameError] | None = None

    def open(self, skip: int = 0, *, is_fired: bool = False) -> None:
        del is_fired
        self._paths = list_images(self._folder, recursive=self._recursive)
        self._next = skip
        self.frame_shape = next((f.shape for f in map(_read, self._paths) if not isinstance(f, FrameError)), None)

    def prepare(self) -> None:
        index = self._index()
        if index is not None and (self._ahead is None or self._ahead[0] != index):
            self._ahead = index, _read(self._paths[index])

    def grab(self) -> FrameInfo:
        index = self._index()
        if index is None:
            raise EndOfFrames
        self._wait(index)
        self._next += 1
        ahead, self._ahead = self._ahead, None
        content = ahead[1] if ahead is not None and ahead[0] == index else _read(self._paths[index])
        name = self._paths[index].relative_to(self._folder).as_posix()
        self._held = name, content
        return FrameInfo(name)

    def retrieve(self, into: Frame) -> None:
        if self._held is None:
            raise CameraError("No frame was grabbed.", fix="Call grab() before retrieve().")
        name, content = self._held
        if isinstance(content, FrameError):
            raise content
        if content.shape != into.shape:
            raise wrong_size(name, content.shape, into.shape)
        into[...] = content

    def close(self) -> None:
        self._held = self._ahead = None

    def _index(self) -> int | None:
        if not self._paths:
            raise NoInputError(f"{self._folder} was not opened.", fix="Call open() first.")
        if self._next < len(self._paths):
            return self._next
        return self._next % len(self._paths) if self._loop else None

    def _wait(self, index: int) -> None:
        gap_ns = self._interval_ns
        if self.is_live and index:
            apart_ns = self._paths[index].stat().st_mtime_ns - self._paths[index - 1].stat().st_mtime_ns
            gap_ns = apart_ns
        self._pace.wait(gap_ns)


def _read(path: Path) -> Frame | FrameError:
    try:
        return read_image(path)
    except FrameError as problem:
        return problem
