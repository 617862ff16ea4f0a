"""A network camera on 127.0.0.1, by GStreamer's own RTSP server; its pictures show when they were taken."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from ports import free_port

PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")


class NetworkCamera:
    """Ended by its own handle; `codec`, one of those of `rtsp_server.py`, holds from when it is next plugged in."""

    def __init__(self, codec: str = "jpeg") -> None:
        self.port = free_port()
        self.codec = codec
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_installed() -> bool:
        return _answers("import gi; gi.require_version('GstRtspServer', '1.0')")

    @staticmethod
    def has_h264() -> bool:
        return _answers(
            "import gi, sys; gi.require_version('Gst', '1.0'); from gi.repository import Gst; Gst.init(None); "
            "sys.exit(not Gst.ElementFactory.find('x264enc'))"
        )

    @property
    def uri(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/line"

    def plug_in(self) -> None:
        self._process = subprocess.Popen(
            [PYTHON, SERVER, str(self.port), self.codec], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
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


def _answers(asks: str) -> bool:
    return (
        Path(PYTHON).exists() and subprocess.run([PYTHON, "-c", asks], check=False, capture_output=True).returncode == 0
    )
