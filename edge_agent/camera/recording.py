"""Frames on their way from a camera to PNG files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.camera.client import CameraProcess
from edge_agent.camera.messages import BadFrame, CameraLost, CameraOpened, FrameCaptured, FramesEnded
from edge_agent.ring import FrameRing
from edge_agent.synthetic import Truth
from engines.errors import DatasetError
from engines.images import Frame

_SLOTS = 3
_POLL_S = 0.25
# Level 1 takes a third of the time of the default and a tenth more space.
_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)
_DIGITS = 6


@dataclass(frozen=True)
class Recording:
    """A folder that frames are written to: `NNNNNN.png`, or with labels the layout of MVTec AD.

    With labels: `test/<label>/NNNNNN.png` and, for defects, `ground_truth/<label>/NNNNNN_mask.png`.
    """

    folder: Path

    def check_unused(self) -> None:
        """Make the folder, and refuse one that holds a recording.

        Raises:
            DatasetError: There are frames already; nothing was changed.
            OSError: The folder cannot be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        found = next((p for p in sorted(self.folder.rglob("*.png"))), None)
        if found is not None:
            raise DatasetError(f"{found} exists already.", fix="Record into a new folder, or move the old frames away.")

    def save(self, number: int, frame: Frame, truth: Truth | None) -> str:
        """Write one frame, and its mask if a defect is known; returns the label, empty without one.

        Raises:
            OSError: A file cannot be written; the frames before are whole.
        """
        name = f"{number:0{_DIGITS}}"
        if truth is None:
            _write_png(self.folder / f"{name}.png", frame)
            return ""
        _write_png(self.folder / "test" / truth.label / f"{name}.png", frame)
        if truth.mask.any():
            mask = truth.mask.astype(np.uint8) * np.uint8(255)
            _write_png(self.folder / "ground_truth" / truth.label / f"{name}_mask.png", mask)
        return truth.label


def camera_frames(camera: CameraProcess, ring: FrameRing) -> Iterator[tuple[FrameCaptured | BadFrame, Frame]]:
    """Yield what the camera delivers, the next frame being written while the caller has one.

    Yields:
        The event, and its slot of the ring, (H, W, C) uint8, the caller's until it asks for the next; undefined for
        a `BadFrame`.

    Raises:
        AgentError: The camera is lost.
    """
    for slot in range(min(_SLOTS, len(ring))):
        camera.request(slot)
    while True:
        match camera.next_event(_POLL_S):
            case FrameCaptured() | BadFrame() as event:
                yield event, ring.slot(event.slot)
                camera.request(event.slot)
            case FramesEnded():
                return
            case CameraLost(error=error):
                raise error
            case CameraOpened() | None:
                pass


def _write_png(path: Path, pixels: npt.NDArray[Any]) -> None:
    encoded, content = cv2.imencode(".png", pixels, _FAST)
    if not encoded:
        raise DatasetError(
            f"{path}: a frame of shape {pixels.shape} cannot be a PNG.", fix="Record 1, 3 or 4 channels."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside first: a recording that is cut off holds whole frames only.
    part = path.with_suffix(".part")
    part.write_bytes(content.tobytes())
    part.replace(path)
