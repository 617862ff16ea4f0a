"""A GStreamer pipeline as a camera, for CSI and GigE Vision cameras. The wheels of OpenCV have no GStreamer."""

from __future__ import annotations

import re

from edge_agent.camera.opencv import GSTREAMER, OpenCvCamera, has_gstreamer
from edge_agent.camera.uri import CameraUri
from engines.errors import ConfigError

_SINK = "appsink drop=1 max-buffers=1 sync=false"


class GStreamerCamera(OpenCvCamera):
    """Delivers what `gst://PIPELINE` ends in; the pipeline may be percent-encoded, and needs an appsink at its end."""

    queued_frames = 1
    fix = "Try the pipeline with gst-launch-1.0 (fakesink for appsink) and as the same user."

    def __init__(self, uri: CameraUri) -> None:
        super().__init__(uri)
        sink = re.search(r"!\s*appsink\b([^!]*)$", uri.target)
        if sink is None:
            raise ConfigError(
                f"Camera {uri}: the pipeline does not end in an appsink.", fix=f"Append ' ! {_SINK}' to it."
            )
        if not re.search(r"\bdrop=(1|true)\b", sink[1]) or not re.search(r"\bmax-buffers=1\b", sink[1]):
            raise ConfigError(
                f"Camera {uri}: the appsink queues frames that grow old.", fix=f"End the pipeline in ' ! {_SINK}'."
            )

    def open(self, skip: int = 0, *, is_fired: bool = False) -> None:
        if not has_gstreamer():
            raise ConfigError(
                "This OpenCV has no GStreamer, which gst:// needs; the wheels of PyPI never have it.",
                fix="Use the system's OpenCV: `apt install python3-opencv` on Debian, JetPack's own on a Jetson, and a "
                "virtual environment made with --system-site-packages and without opencv-python-headless.",
            )
        if is_fired and not re.search(r"\basync=(0|false)\b[^!]*$", self._uri.target):
            raise ConfigError(
                f"Camera {self._name}: the appsink waits for a first frame, and nothing may have fired the camera yet.",
                fix=f"With camera.mode hardware_triggered end the pipeline in ' ! {_SINK} async=false'.",
            )
        super().open(skip, is_fired=is_fired)

    def _connect(self) -> None:
        self._open_capture(self._uri.target, GSTREAMER)
