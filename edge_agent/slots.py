"""Which slots of the ring the camera has been asked to fill; the others are free."""

from __future__ import annotations

from collections.abc import Collection

from edge_agent.camera.client import CameraProcess
from edge_agent.camera.messages import BadFrame, CameraEvent, CameraLost, FrameCaptured, FramesEnded


class Slots:
    """Used by the inspection thread; `note` must see every event of the camera.

    Args:
        camera: Fills the slots.
        count: How many the ring has.
    """

    def __init__(self, camera: CameraProcess, count: int) -> None:
        self._camera = camera
        self._all = frozenset(range(count))
        self._asked: dict[int, int] = {}

    def request(self, newer_than_ns: int) -> int | None:
        """Ask for a frame that is newer than CLOCK_MONOTONIC `newer_than_ns`; None if no slot is free."""
        free = min(self._all - set(self._asked.values()), default=None)
        if free is None:
            return None
        request = self._camera.request(free, newer_than_ns)
        self._asked[request] = free
        return request

    def request_all(self, held: Collection[int] = ()) -> None:
        """Ask for a frame in every free slot but those that the caller still reads, so that capture and inspection overlap."""
        for slot in sorted(self._all - set(self._asked.values()) - set(held)):
            self._asked[self._camera.request(slot)] = slot

    def note(self, event: CameraEvent | None) -> None:
        """Free the slots that an event answers; a frame in one is whole until the next request."""
        match event:
            case CameraLost(requests=requests):
                for request in requests:
                    self._asked.pop(request, None)
            case FramesEnded() | FrameCaptured() | BadFrame():
                self._asked.pop(event.request, None)
            case _:
                pass
