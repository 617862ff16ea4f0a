"""A network camera. FFmpeg's `read` can hang for ever without time limits (opencv issue 22677).

After a stall, and at the start, FFmpeg and the network hold frames of whole seconds, which then come at once. Only the
stream's own clock tells them from new ones. A decoder with several threads (H.264, HEVC, MPEG-4) holds back a frame for
each further one, always, which no clock shows. For B-frames it holds back the frames that follow them: five frames where
three are B in a row, up to seven where seven are (x264), more than are thrown away here.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import deque

import cv2

from edge_agent.camera.opencv import FFMPEG, POSITION_MS, OpenCvCamera
from edge_agent.camera.source import FrameInfo
from edge_agent.camera.uri import CameraUri
from engines.errors import CameraError

_OPEN_MS, _READ_MS = 10_000, 2_000
# What FFmpeg's parser and a decoder of one thread hold while the network holds nothing; nobody can ask them.
_HELD_FRAMES = 4
_MOST_THREADS = 16
# So many frames in a row must take as long as they show, or nearly, before nothing is held any more.
_AT_PACE_FRAMES, _AT_PACE = 5, 0.9
_LONGEST_CATCHING_UP_S = 5.0
_LATEST_NS = 2_000_000_000
# OpenCV before 4.7 cannot tell.
_FRAME_TYPE = getattr(cv2, "CAP_PROP_FRAME_TYPE", None)


class RtspCamera(OpenCvCamera):
    """Delivers an RTSP stream, `rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH`, passed on as it is."""

    fix = "Check that the camera is on the network (ping), and that address, user and password are right."

    def __init__(self, uri: CameraUri) -> None:
        super().__init__(uri)
        self._clock = StreamClock()

    def open(self, skip: int = 0, *, is_fired: bool = False) -> None:
        super().open(skip, is_fired=is_fired)
        self._clock = StreamClock()
        until_s = time.monotonic() + _LONGEST_CATCHING_UP_S
        while not self._clock.is_at_pace:
            if time.monotonic() > until_s:
                self.close()
                raise CameraError(
                    f"Camera {self._name} does not say when its frames were taken.",
                    fix="Set a constant frame rate of at least 4 a second in the camera.",
                )
            self.grab()

    def grab(self) -> FrameInfo:
        info = super().grab()
        now_ns = time.monotonic_ns()
        arrived_ns = self._clock.arrival_of(round(self._opened().get(POSITION_MS) * 1e6), now_ns)
        if now_ns - arrived_ns > _LATEST_NS:
            raise CameraError(
                f"Frames of camera {self._name} come {(now_ns - arrived_ns) / 1e9:.1f} s late.",
                fix="It is opened again. If it happens often: less frames a second or smaller ones, or a faster network.",
            )
        return dataclasses.replace(info, arrived_ns=arrived_ns)

    def _grabbed(self) -> bool:
        if not super()._grabbed():
            return False
        # A B-frame comes out before the frame that was held back for it.
        if _FRAME_TYPE is not None and self._opened().get(_FRAME_TYPE) == ord("B"):
            self.close()
            raise CameraError(
                f"Camera {self._name} sends B-frames, for which frames from before a trigger are held back.",
                fix="Turn them off in the camera: H.264 with profile Baseline or GOP structure IPPP, or MJPEG.",
            )
        return True

    def _connect(self) -> None:
        params = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_MS]
        # Before OpenCV 4.7 there are as many threads as cores, and nobody can choose or ask.
        property_of_threads = getattr(cv2, "CAP_PROP_N_THREADS", None)
        threads = 0
        if property_of_threads is None:
            self._open_capture(self._uri.text, FFMPEG, params)
        else:
            self._open_capture(self._uri.text, FFMPEG, [*params, property_of_threads, 1])
            threads = round(self._opened().get(property_of_threads))
        self.queued_frames = _HELD_FRAMES - 1 + (threads or os.cpu_count() or _MOST_THREADS)


class StreamClock:
    """Compares the stream's clock with ours: the frame that was held back least says how far they are apart.

    Of the last thousand frames, since two clocks drift apart by some milliseconds in that time.
    """

    def __init__(self) -> None:
        self._apart: deque[int] = deque(maxlen=1000)
        self._last: deque[tuple[int, int]] = deque(maxlen=_AT_PACE_FRAMES + 1)

    def arrival_of(self, stream_ns: int, now_ns: int) -> int:
        """Return when a frame that was grabbed now would have been, had nothing held it back; CLOCK_MONOTONIC.

        Args:
            stream_ns: The frame's time by the stream's clock.
            now_ns: CLOCK_MONOTONIC.
        """
        self._apart.append(now_ns - stream_ns)
        self._last.append((stream_ns, now_ns))
        return stream_ns + min(self._apart)

    @property
    def is_at_pace(self) -> bool:
        """Whether the last frames came as slowly as they were taken, so that none was held back."""
        if len(self._last) <= _AT_PACE_FRAMES:
            return False
        (first_stream_ns, first_ns), (stream_ns, now_ns) = self._last[0], self._last[-1]
        return 0 < (stream_ns - first_stream_ns) * _AT_PACE <= now_ns - first_ns
