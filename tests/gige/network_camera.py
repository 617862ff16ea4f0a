"""A network camera on 127.0.0.1, by GStreamer's own RTSP server; its pictures show when they were taken."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")


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
