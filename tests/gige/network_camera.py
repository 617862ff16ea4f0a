"""A network camera on 127.0.0.1, by GStreamer's own RTSP server; its pictures show when they were taken."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np

PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")
BITS, BAR_PX, HEIGHT_PX = 12, 8, 80
SHAPE = (HEIGHT_PX, BITS * BAR_PX, 3)


class NetworkCamera:
    """Ended by its own handle."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_installed() -> bool:
        asks = "import gi; gi.require_version('GstRtspServer', '1.0')"
        return (
            Path(PYTHON).exists()
            and subprocess.run([PYTHON, "-c", asks], check=False, capture_output=True).returncode == 0
        )

    @property
    def uri(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/line"

    def plug_in(self) -> None:
        self._process = subprocess.Popen(
            [PYTHON, SERVER, str(self.port)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert self._process.stdout.readline() == b"ready\n"

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def unplug(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None


def time_of(frame: np.ndarray) -> int:
    """Return when a picture was taken, CLOCK_MONOTONIC in ns: the latest time that ends in the bits that it shows."""
    bars = frame[:, :, 0].reshape(HEIGHT_PX, BITS, BAR_PX).mean(axis=(0, 2)) > 127
    shown_ms = int("".join("1" if bar else "0" for bar in bars), 2)
    now_ms = time.monotonic_ns() // 1_000_000
    return (now_ms - (now_ms - shown_ms) % (1 << BITS)) * 1_000_000
