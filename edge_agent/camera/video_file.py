"""A recorded video as a camera."""

from __future__ import annotations

from pathlib import Path

from edge_agent.camera.opencv import FFMPEG, POSITION_MS, OpenCvCamera, translated
from edge_agent.camera.pace import Pace
from edge_agent.camera.source import EndOfFrames, FrameInfo
from edge_agent.camera.uri import CameraUri
from engines.errors import CameraError, ConfigError, NoInputError


class VideoFileCamera(OpenCvCamera):
    """Delivers the frames of `file://PATH?pace=request|recorded` in order, one a request.

    With `recorded` they come as far apart as they were taken (1 s at most), and those that nobody takes are lost.
    """

    is_simulated = True
    fix = "Check that it plays in another program, or record it again as MP4 or AVI."

    def __init__(self, uri: CameraUri) -> None:
        super().__init__(uri)
        uri.allow(("pace",))
        pace = uri.options.get("pace", "request")
        if pace not in {"request", "recorded"}:
            raise uri.wrong("pace", "must be request or recorded")
        self.is_live = pace == "recorded"
        self._pace = Pace()
        self._position_ns = 0
        if not uri.target:
            raise ConfigError(f"Camera {uri} names no file.", fix="Write file://PATH of a video.")
        self._path = Path(uri.target)

    def open(self, skip: int = 0, *, is_fired: bool = False) -> None:
        del is_fired
        if not self._path.is_file():
            raise NoInputError(f"{self._path} is not a file.", fix="Check the path: it must be a video file.")
        try:
            super().open()
        except CameraError as problem:
            raise NoInputError(problem.problem, fix=problem.fix) from problem
        # The first frame was taken to learn the shape; seeking back is not exact in every container.
        self.close()
        self._connect()
        self._count = 0
        while self._count < skip and self._grabbed():
            self._count += 1

    def grab(self) -> FrameInfo:
        if not self._grabbed():
            raise EndOfFrames
        self._count += 1
        if self.is_live:
            with translated(f"reading {self._name}"):
                position_ns = round(self._opened().get(POSITION_MS) * 1e6)
            self._pace.wait(position_ns - self._position_ns)
            self._position_ns = position_ns
        return FrameInfo(str(self._count - 1))

    def _connect(self) -> None:
        self._open_capture(str(self._path), FFMPEG)
