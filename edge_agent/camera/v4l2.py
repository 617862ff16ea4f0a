"""A USB or other V4L2 camera.

Quirks: `set` returns True for values that the driver replaces, so what it took is read back; the fourcc must come
before the size, because the sizes depend on it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from edge_agent.camera.opencv import FOURCC, FPS, HEIGHT, V4L2, WIDTH, OpenCvCamera, fourcc_code, translated
from edge_agent.camera.uri import CameraUri
from engines.errors import CameraError, ConfigError

_OPTIONS = ("width", "height", "fps", "fourcc")


class V4l2Camera(OpenCvCamera):
    """Delivers `v4l2:///dev/video0?width=W&height=H&fps=F&fourcc=MJPG`; what is not given stays as the driver has it."""

    has_driver_time = True
    # OpenCV's default; counts only where the driver's time is no CLOCK_MONOTONIC.
    queued_frames = 4
    fix = "Check the cable and power, `v4l2-ctl --list-devices`, and that no other program uses it."

    def __init__(self, uri: CameraUri) -> None:
        super().__init__(uri)
        uri.allow(_OPTIONS)
        if not uri.target.startswith("/dev/"):
            raise ConfigError(f"Camera {uri} names no device.", fix="Write for example v4l2:///dev/video0.")
        fourcc = uri.options.get("fourcc", "")
        if fourcc and not re.fullmatch(r"[\x20-\x7e]{4}", fourcc):
            raise uri.wrong("fourcc", "must be four letters, for example MJPG or YUYV")
        self._wanted: dict[int, tuple[str, float]] = {}
        if fourcc:
            self._wanted[FOURCC] = ("fourcc", fourcc_code(fourcc))
        for prop, name in ((WIDTH, "width"), (HEIGHT, "height")):
            if name in uri.options:
                self._wanted[prop] = (name, uri.whole(name, 0, low=16, high=16384))
        if "fps" in uri.options:
            self._wanted[FPS] = ("fps", uri.number("fps", 0, low=1, high=1000))

    def _connect(self) -> None:
        device = Path(self._uri.target)
        if not device.exists():
            raise CameraError(
                f"Camera {device} does not exist.",
                fix="Check the cable and power, and which there are: `ls /dev/video*`, `v4l2-ctl --list-devices`.",
            )
        if not os.access(device, os.R_OK | os.W_OK):
            raise CameraError(
                f"Camera {device} may not be opened by this user.",
                fix="Add the user to the group: `usermod -aG video USER`, or SupplementaryGroups=video in the unit.",
            )
        self._open_capture(str(device), V4L2)
        for prop, (name, value) in self._wanted.items():
            self._set(prop, name, value)

    def _set(self, prop: int, name: str, value: float) -> None:
        with translated(f"setting {name} of {self._name}"):
            capture = self._opened()
            capture.set(prop, value)
            taken = capture.get(prop)
        if abs(taken - value) > 0.01 * value:
            self.close()
            # It may take it when it comes back: after power-up some cameras are in another USB mode for a while.
            raise CameraError(
                f"Camera {self._name} does not take {name}={self._uri.options[name]}.",
                fix="Choose a combination that `v4l2-ctl --list-formats-ext` lists.",
            )
