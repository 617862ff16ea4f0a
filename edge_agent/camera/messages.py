"""What agent and camera process say to each other: one JSON object a datagram, over a SOCK_SEQPACKET pair.

The agent first sends `Setup`, then `Capture` requests. The camera process answers every request once, in order.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, TypeAlias

from engines import errors
from engines.errors import AgentError, CameraError, DeviceError

LARGEST_BYTES = 65_536


@dataclass(frozen=True)
class Setup:
    """The agent's first message; it is not on the command line because the URI may hold a password.

    With `is_fired` an electrical trigger fires the camera: every frame answers a request or is told as skipped.
    """

    uri: str
    frame_shape: tuple[int, int, int] | None
    slots: int
    skip: int
    is_fired: bool = False


@dataclass(frozen=True)
class Capture:
    """Write one frame whose grab began after this arrived, and after `newer_than_ns`, into the slot."""

    request: int
    slot: int
    newer_than_ns: int


@dataclass(frozen=True)
class CameraOpened:
    """The camera delivers, or waits for its electrical trigger.

    `frame_shape` is (H, W, C), None if a folder holds no readable image, or nothing has fired the camera.
    """

    frame_shape: tuple[int, int, int] | None
    is_live: bool
    is_simulated: bool


@dataclass(frozen=True)
class FrameCaptured:
    """A frame lies in the slot; times are CLOCK_MONOTONIC.

    `captured_ns` is the driver's time if it gives one, else when the grab ended; at `written_ns` the slot was whole.
    `seq` counts the frames since the agent started, across restarts of the camera process; `skipped` were taken
    before this one while nobody asked.
    """

    request: int
    slot: int
    generation: int
    grab_began_ns: int
    captured_ns: int
    written_ns: int
    source: str
    seq: int = -1
    skipped: int = 0


@dataclass(frozen=True)
class FrameSkipped:
    """The electrical trigger fired the camera, but no slot was asked for; it could have been whole at `written_ns`."""

    written_ns: int


@dataclass(frozen=True)
class BadFrame:
    """The frame for this request cannot be judged; the slot's content is undefined, the camera goes on."""

    request: int
    slot: int
    reason: str
    message: str
    source: str
    grab_began_ns: int
    written_ns: int
    seq: int = -1
    skipped: int = 0


@dataclass(frozen=True)
class FramesEnded:
    """The source has no frame left for this request; every later request ends the same way."""

    request: int


@dataclass(frozen=True)
class Failed:
    """The camera process gives up; `error` is the name of the class in `engines.errors`."""

    error: str
    problem: str
    fix: str


@dataclass(frozen=True)
class CameraLost:
    """The camera process has ended, and nobody writes into the ring until the next `CameraOpened`.

    `requests` will not be answered any more. Unless `is_final`, the camera is opened again after a while.
    """

    error: AgentError
    requests: tuple[int, ...]
    is_final: bool


CameraEvent: TypeAlias = CameraOpened | FrameCaptured | FrameSkipped | BadFrame | FramesEnded | CameraLost
_Wire: TypeAlias = Setup | Capture | CameraOpened | FrameCaptured | FrameSkipped | BadFrame | FramesEnded | Failed
_TYPES: dict[str, type[_Wire]] = {
    "setup": Setup,
    "capture": Capture,
    "opened": CameraOpened,
    "frame": FrameCaptured,
    "skipped": FrameSkipped,
    "bad_frame": BadFrame,
    "ended": FramesEnded,
    "lost": Failed,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def encode(message: _Wire) -> bytes:
    """Return the datagram for a message."""
    # vars() rather than asdict(), which copies deeply: this is on the way of every frame.
    return json.dumps({"type": _NAMES[type(message)], **vars(message)}).encode()


def decode(datagram: bytes) -> _Wire:
    """Return the message of a datagram.

    Raises:
        DeviceError: The other side speaks another language.
    """
    try:
        content: dict[str, Any] = json.loads(datagram)
        kind = _TYPES[content.pop("type")]
        if isinstance(content.get("frame_shape"), list):
            height, width, channels = content["frame_shape"]
            content["frame_shape"] = (height, width, channels)
        return kind(**content)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise DeviceError(
            f"A message between agent and camera process is damaged: {datagram[:80]!r}.",
            fix="Start both from the same installation.",
        ) from problem


def failed_from(error: AgentError) -> Failed:
    """Return the message that carries an error to the agent."""
    return Failed(type(error).__name__, error.problem[:4000], error.fix[:4000])


def error_from(failed: Failed) -> AgentError:
    """Return the error that the camera process met, as the agent would have met it."""
    kind = getattr(errors, failed.error, None)
    if isinstance(kind, type) and issubclass(kind, AgentError) and kind is not errors.FrameError:
        return kind(failed.problem, fix=failed.fix)
    return CameraError(failed.problem, fix=failed.fix)


def numbered(event: FrameCaptured | BadFrame, seq: int) -> FrameCaptured | BadFrame:
    """Return the event with the agent's count."""
    return dataclasses.replace(event, seq=seq)
