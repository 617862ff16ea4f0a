"""Frames without triggers, one after the other, with requests kept ahead so that the camera never waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_agent.camera.client import CameraProcess
from edge_agent.camera.messages import BadFrame, CameraEvent, CameraLost, CameraOpened, FrameCaptured, FramesEnded

POLL_S = 0.25


def stream_events(camera: CameraProcess, *, slots: int, stopping: Callable[[], bool]) -> Iterator[CameraEvent | None]:
    """Yield every camera event until the frames end, the camera is lost for good, or the caller stops.

    A frame's slot is the caller's until it asks for the next event; then it is filled again.

    Args:
        camera: A started camera process with no request open.
        slots: How many slots of its ring to use, at least 2 for capture and inspection to overlap.
        stopping: Asked before every wait.

    Yields:
        Camera events in order; None at least four times a second while nothing happens.
    """
    while not stopping():
        event = camera.next_event(POLL_S)
        yield event
        match event:
            case CameraOpened():
                for slot in range(slots):
                    camera.request(slot)
            case FrameCaptured() | BadFrame():
                camera.request(event.slot)
            case FramesEnded():
                return
            case CameraLost(is_final=True):
                return
            case _:
                pass
