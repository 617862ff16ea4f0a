"""What goes wrong with real cameras, on demand, so that a station can be tried before it matters."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import numpy as np

from edge_agent.camera.uri import CameraUri
from engines.errors import CameraError, FrameError
from engines.images import Frame

FAULTS = ("hang", "lost", "crash", "unreadable", "size", "black", "white", "frozen")


@dataclass
class Faults:
    """One fault of a synthetic camera.

    `hang`, `lost` and `crash` happen once, at frame `at`; the others last for `frames` frames from there: an
    `unreadable` frame, one of another `size`, a `black` or `white` one, or the `frozen` picture of the frame before.
    """

    fault: str | None = None
    at: int = 0
    frames: int = 1
    _last: Frame | None = None

    @classmethod
    def from_uri(cls, uri: CameraUri) -> Faults:
        """Read `fault`, `fault_at` and `fault_frames`; raises ConfigError if one is wrong."""
        fault = uri.options.get("fault")
        if fault is not None and fault not in FAULTS:
            raise uri.wrong("fault", f"must be one of {', '.join(FAULTS)}")
        at = uri.whole("fault_at", 0, low=0, high=10**12)
        return cls(fault, at, uri.whole("fault_frames", 1, low=1, high=10**12))

    def before(self, index: int) -> None:
        """Hang, end the process or lose the camera if the time has come.

        Raises:
            CameraError: The camera is lost.
        """
        if index != self.at:
            return
        if self.fault == "lost":
            raise CameraError("The synthetic camera was unplugged (fault=lost).", fix="It comes back by itself.")
        if self.fault == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        while self.fault == "hang":
            time.sleep(1.0)

    def applied(self, index: int, frame: Frame) -> Frame:
        """Return the frame as the faulty camera delivers it; it may be the one given.

        Raises:
            FrameError: The frame cannot be decoded.
        """
        before, self._last = self._last, frame if self.fault == "frozen" else None
        if not self.at <= index < self.at + self.frames:
            return frame
        match self.fault:
            case "unreadable":
                raise FrameError(
                    f"Frame {index} is damaged (fault=unreadable).", reason="unreadable_frame", fix="Go on."
                )
            case "size":
                return np.ascontiguousarray(frame[::2, ::2])
            case "black":
                return np.zeros_like(frame)
            case "white":
                return np.full_like(frame, 255)
            case "frozen" if before is not None:
                self._last = before
                return before
            case _:
                return frame
