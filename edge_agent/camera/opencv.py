"""OpenCV's VideoCapture as the base of the cameras that go through it.

Quirks, for OpenCV 4.5 to 5:
* `retrieve(slot)` writes into `slot` only if size, channels and type fit; else it returns another array and leaves the
  slot alone, without a word. So the array that comes back must be the slot itself.
* `grab()` returns False for an end, a time-out and an unplugged camera alike.
* FFmpeg's POS_MSEC counts from the first frame; V4L2's is the driver's buffer time, CLOCK_MONOTONIC.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

from edge_agent.camera.source import FrameInfo, GrabTimeout, wrong_size
from edge_agent.camera.uri import CameraUri
from engines.errors import CameraError, FrameError
from engines.images import Frame

GSTREAMER, FFMPEG, V4L2 = cv2.CAP_GSTREAMER, cv2.CAP_FFMPEG, cv2.CAP_V4L2
WIDTH, HEIGHT, FPS, FOURCC = (
    cv2.CAP_PROP_FRAME_WIDTH,
    cv2.CAP_PROP_FRAME_HEIGHT,
    cv2.CAP_PROP_FPS,
    cv2.CAP_PROP_FOURCC,
)
POSITION_MS = cv2.CAP_PROP_POS_MSEC
_LONGEST_AGE_NS = 60_000_000_000


def settle_opencv() -> None:
    """Make OpenCV a quiet guest of this process: no worker threads, which spin, and no log lines of its own."""
    cv2.setNumThreads(1)
    if hasattr(cv2, "utils") and hasattr(cv2.utils, "logging"):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def has_gstreamer() -> bool:
    """Return whether this OpenCV was built with GStreamer."""
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))


def fourcc_code(name: str) -> float:
    """Return OpenCV's number for a four-letter pixel format."""
    return float(cv2.VideoWriter.fourcc(*name))


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what OpenCV raises into a CameraError."""
    try:
        yield
    except cv2.error as problem:
        lines = str(problem).strip().splitlines() or ["no details"]
        raise CameraError(f"OpenCV failed while {doing}: {lines[0]}", fix="Check the camera and its URI.") from problem


class OpenCvCamera(ABC):
    """What cameras behind VideoCapture share; each kind says how to open and what to check.

    The frame's shape is learned from one frame at the start, because OpenCV does not know the channels before.
    """

    is_live = True
    is_simulated = False
    queued_frames = 0
    has_driver_time = False
    # V4L2 waits 2 s for a frame (see child.py), GStreamer 30 s; an unplugged camera is told at once.
    shortest_timeout_s = 1.5
    fix = "Check the camera."

    def __init__(self, uri: CameraUri) -> None:
        self._name = str(uri)
        self._uri = uri
        self._capture: Any = None
        self._count = 0
        self.frame_shape: tuple[int, int, int] | None = None

    def open(self, skip: int = 0, *, is_fired: bool = False) -> None:
        del skip
        self._connect()
        if not is_fired:
            self._learn_shape()

    def prepare(self) -> None:
        return

    def grab(self) -> FrameInfo:
        began_s = time.monotonic()
        if not self._grabbed():
            problem = CameraError if time.monotonic() - began_s < self.shortest_timeout_s else GrabTimeout
            raise problem(f"Camera {self._name} stopped delivering.", fix=self.fix)
        self._count += 1
        return FrameInfo(str(self._count - 1), self._driver_ns())

    def retrieve(self, into: Frame) -> None:
        with translated(f"decoding a frame of {self._name}"):
            filled, frame = self._opened().retrieve(into)
        if not filled or frame is None:
            raise FrameError(
                f"Frame {self._count - 1} of {self._name} cannot be decoded.",
                reason="unreadable_frame",
                fix="If it happens often, check cable and camera, or choose another fourcc.",
            )
        if frame is not into:
            raise wrong_size(f"{self._count - 1} of {self._name}", _shape(frame), into.shape)

    def close(self) -> None:
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()

    @abstractmethod
    def _connect(self) -> None:
        """Open the capture; part of `open`."""

    def _open_capture(self, target: str, backend: int, params: Sequence[int] = ()) -> None:
        with translated(f"opening {self._name}"):
            self._capture = (
                cv2.VideoCapture(target, backend, list(params)) if params else cv2.VideoCapture(target, backend)
            )
            if not self._capture.isOpened():
                self.close()
                raise CameraError(f"Camera {self._name} cannot be opened.", fix=self.fix)

    def _learn_shape(self) -> None:
        filled, frame = False, None
        if self._grabbed():
            with translated(f"decoding the first frame of {self._name}"):
                filled, frame = self._opened().retrieve()
        if not filled or frame is None:
            self.close()
            raise CameraError(f"Camera {self._name} opened but delivers no frame.", fix=self.fix)
        if frame.dtype != np.uint8:
            self.close()
            raise CameraError(
                f"Camera {self._name} delivers {frame.dtype} pixels; 8 bits a channel are needed.",
                fix="Choose an 8-bit pixel format (fourcc, or video/x-raw,format=… in a pipeline).",
            )
        self.frame_shape = _shape(frame)

    def _grabbed(self) -> bool:
        with translated(f"waiting for a frame of {self._name}"):
            return bool(self._opened().grab())

    def _driver_ns(self) -> int | None:
        if not self.has_driver_time:
            return None
        stamp_ns = round(self._opened().get(POSITION_MS) * 1e6)
        age_ns = time.monotonic_ns() - stamp_ns
        # Some drivers stamp with another clock, or with 0: such a time proves nothing.
        return stamp_ns if 0 <= age_ns < _LONGEST_AGE_NS else None

    def _opened(self) -> Any:
        if self._capture is None:
            raise CameraError(f"Camera {self._name} is not open.", fix="Call open() first.")
        return self._capture


def _shape(frame: Frame) -> tuple[int, int, int]:
    return frame.shape[0], frame.shape[1], 1 if frame.ndim == 2 else frame.shape[2]
