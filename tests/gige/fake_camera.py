"""Aravis' fake GigE Vision camera, a real one as far as the protocol goes, and who may talk to it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time

# With CAP_NET_RAW aravis takes a packet socket, which receives nothing on the loopback interface.
AS_ORDINARY_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
PROGRAM = "arv-fake-gv-camera-0.8"
CONTROL_PORT = 3956
SHAPE = (80, 96, 1)
FPS = 20
# Small frames: on a busy machine the packets of large ones are lost.
SOURCE = "aravissrc camera-name=Aravis-GV01"
SINK = "appsink drop=1 max-buffers=1 sync=false"
URI = f"gst://{SOURCE} ! video/x-raw,format=GRAY8,width={SHAPE[1]},height={SHAPE[0]},framerate={FPS}/1 ! {SINK}"


class FakeGigeCamera:
    """The camera on 127.0.0.1, which can be unplugged; ended by its own handle."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_installed() -> bool:
        return shutil.which(PROGRAM) is not None

    def plug_in(self) -> None:
        self._process = subprocess.Popen(
            [*AS_ORDINARY_USER, PROGRAM, "-i", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        deadline = time.monotonic() + 10
        while not _is_taken(CONTROL_PORT):
            assert time.monotonic() < deadline, f"{PROGRAM} does not listen"
            time.sleep(0.01)

    def unplug(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _is_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
