"""A network camera. FFmpeg's `read` can hang for ever without time limits (opencv issue 22677)."""

from __future__ import annotations

import cv2

from edge_agent.camera.opencv import FFMPEG, OpenCvCamera

_OPEN_MS, _READ_MS = 10_000, 2_000


class RtspCamera(OpenCvCamera):
    """Delivers an RTSP stream, `rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH`, passed on as it is."""

    # What the network stack holds while a frame is decoded; nobody can ask it.
    queued_frames = 4
    fix = "Check that the camera is on the network (ping), and that address, user and password are right."

    def _connect(self) -> None:
        limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_MS)
        self._open_capture(self._uri.text, FFMPEG, limits)
