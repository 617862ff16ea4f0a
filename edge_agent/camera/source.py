"""What every camera does, and the one place that picks one by its URI.

Cameras live in the camera process only (`process.py`); the agent talks to that process (`client.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge_agent.camera.uri import CameraUri, parse_uri
from engines.errors import CameraError, FrameError
from engines.images import Frame, describe_size


class EndOfFrames(Exception):  # noqa: N818 - an end is no error
    """A folder, a video or a limited synthetic camera has delivered all its frames."""


class GrabTimeout(CameraError):  # noqa: N818 - it may be none, if nothing has fired the camera
    """The driver's own time limit passed without a frame; the camera may be asked again."""


@dataclass(frozen=True)
class FrameInfo:
    """Where a frame came from: a path relative to the folder, a counter, or nothing.

    `driver_ns` is the driver's own capture time, CLOCK_MONOTONIC, None where the driver gives none. `arrived_ns` is when a
    frame that may have been held back would have come otherwise, None where nothing can hold one back for long.
    """

    source: str
    driver_ns: int | None = None
    arrived_ns: int | None = None


class CameraSource(Protocol):
    """One camera, used by one thread: open, then grab and retrieve in turn, then close."""

    @property
    def frame_shape(self) -> tuple[int, int, int] | None:
        """(H, W, C) uint8 as delivered, known once open; None if no frame of the source is readable."""

    @property
    def is_live(self) -> bool:
        """Whether frames are lost while nobody takes them."""

    @property
    def queued_frames(self) -> int:
        """How many frames the driver may hold that were exposed before they are asked for; 0 if it is not live.

        Where the driver tells no capture time, so many are thrown away before a frame counts as new.
        """

    @property
    def is_simulated(self) -> bool:
        """Whether the frames are not of the part that stands before the station now."""

    def open(self, skip: int = 0, *, is_fired: bool = False) -> None:
        """Connect to the camera.

        Args:
            skip: Frames of a finite source that were delivered before the camera process was restarted.
            is_fired: An electrical trigger fires the camera, so it must not be waited for here.

        Raises:
            CameraError: It is not there or refuses; nothing stays open, and trying again may help.
            ConfigError: It never can work this way; a person must change something.
        """

    def prepare(self) -> None:
        """Do ahead what the next `grab` needs; called while no request waits, never raises for a bad frame."""

    def grab(self) -> FrameInfo:
        """Wait for the next frame and keep hold of it.

        Returns:
            Where it comes from and when it was taken, known also of a frame that turns out to be unreadable.

        Raises:
            EndOfFrames: There are no more; also at every later call.
            GrabTimeout: None came for as long as the driver waits.
            CameraError: The camera is lost; only `close` may follow.
        """

    def retrieve(self, into: Frame) -> None:
        """Write the frame that was grabbed into the caller's memory.

        Args:
            into: (H, W, C) uint8, C-contiguous, owned by the caller; not kept.

        Raises:
            FrameError: This frame is unreadable or has another size (`reason` says which); `into` may have been
                written in part. The next `grab` goes on with the next frame.
        """

    def close(self) -> None:
        """Let go of the camera; harmless in every state."""


def open_camera(uri: str, *, skip: int = 0, is_fired: bool = False) -> CameraSource:
    """Open the camera that a URI names; the arguments are those of `CameraSource.open`.

    Raises:
        ConfigError: The URI is wrong, or names what can never work here.
        CameraError: The camera is not there, or refuses.
    """
    source = _resolve(parse_uri(uri))
    source.open(skip, is_fired=is_fired)
    return source


def check_camera_uri(uri: str) -> None:
    """Refuse a wrong URI without touching the camera.

    Raises:
        ConfigError: Scheme, target or an option is wrong.
    """
    _resolve(parse_uri(uri))


def _resolve(uri: CameraUri) -> CameraSource:
    match uri.scheme:
        case "folder":
            from edge_agent.camera.folder import FolderCamera

            return FolderCamera(uri)
        case "synthetic":
            from edge_agent.camera.synthetic import synthetic_camera

            return synthetic_camera(uri)
        case "file":
            from edge_agent.camera.video_file import VideoFileCamera

            return VideoFileCamera(uri)
        case "v4l2":
            from edge_agent.camera.v4l2 import V4l2Camera

            return V4l2Camera(uri)
        case "gst":
            from edge_agent.camera.gstreamer import GStreamerCamera

            return GStreamerCamera(uri)
        case _:
            from edge_agent.camera.rtsp import RtspCamera

            return RtspCamera(uri)


def wrong_size(source: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> FrameError:
    """Return the error for a frame that does not fit the ring."""
    return FrameError(
        f"Frame {source} is {describe_size(found)}, but {describe_size(wanted)} is expected.",
        reason="frame_size",
        fix="Set the camera to the recipe's frame size, or train a recipe for this one.",
    )
