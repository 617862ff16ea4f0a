"""Frames on their way from a camera to PNG files."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.camera.client import CameraProcess
from edge_agent.camera.messages import BadFrame, CameraLost, CameraOpened, FrameCaptured, FramesEnded
from edge_agent.camera.probe import probe_camera
from edge_agent.camera.uri import describe_uri
from edge_agent.ring import FrameRing
from edge_agent.synthetic import SyntheticPart, Truth
from engines.errors import DatasetError
from engines.images import Frame, encode_png

_SLOTS = 3
_POLL_S = 0.25
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


def record(
    uri: str, recording: Recording, *, frames: int | None, left_out: list[str], part: SyntheticPart | None = None
) -> Generator[str, None, None]:
    """Write a camera's frames, and yield the label of each once it is on the disk.

    Args:
        uri: The camera.
        recording: Where they go.
        frames: Stop after so many; None takes all that there are.
        left_out: Gets the message of every frame that could not be used.
        part: What the camera shows, where it is made by a program: the labels are its.

    Raises:
        AgentError: The camera cannot be opened, has no frame, or is lost; the frames before are whole.
    """
    shape = probe_camera(uri).frame_shape
    if shape is None:
        raise DatasetError(
            f"Camera {describe_uri(uri)} has no readable frame.", fix="Look at its files with another program."
        )
    ring = FrameRing.create(shape, _SLOTS)
    camera = CameraProcess(uri, ring)
    try:
        camera.start()
        whole = islice(_whole_frames(camera, ring, left_out), frames)
        for number, (event, frame) in enumerate(whole):
            yield recording.save(number, frame, part.truth(int(event.source)) if part else None)
    finally:
        camera.close()
        ring.close()


def _whole_frames(camera: CameraProcess, ring: FrameRing, left_out: list[str]) -> Iterator[tuple[FrameCaptured, Frame]]:
    for event, frame in camera_frames(camera, ring):
        if isinstance(event, BadFrame):
            left_out.append(event.message)
            print(f"Left out: {event.message}", file=sys.stderr)
        else:
            yield event, frame


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
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside first: a recording that is cut off holds whole frames only.
    part = path.with_suffix(".part")
    part.write_bytes(encode_png(pixels))
    part.replace(path)
