"""A recorded video as a camera."""

from __future__ import annotations

from pathlib import Path

from edge_agent.camera.opencv import FFMPEG, OpenCvCamera
from edge_agent.camera.source import EndOfFrames, FrameInfo
from edge_agent.camera.uri import CameraUri
from engines.errors import CameraError, ConfigError, NoInputError


class VideoFileCamera(OpenCvCamera):
    """Delivers the frames of `file://PATH` in order, one a request."""

    is_live = False
    is_simulated = True
    fix = "Check that it plays in another program, or record it again as MP4 or AVI."

    def __init__(self, uri: CameraUri) -> None:
        super().__init__(uri)
        uri.allow(())
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
        return FrameInfo(str(self._count - 1))

    def _connect(self) -> None:
        self._open_capture(str(self._path), FFMPEG)
