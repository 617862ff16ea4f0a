"""One camera process as a handle: started, spoken to, and ended by it alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from edge_agent.camera.messages import LARGEST_BYTES
from engines.errors import DeviceError

_END_TIMEOUT_S = 1.0
# A BLAS that starts a thread a core costs memory, and the camera process multiplies nothing.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENCV_LOG_LEVEL": "OFF",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
    # OpenCV's V4L2 would wait 10 s for a frame before it says that the camera is silent.
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "2",
}


class CameraChild:
    """The running `edge_agent.camera.process`, which inherits the ring's descriptor and one end of a socket pair."""

    def __init__(self, ring_fd: int) -> None:
        """Start it.

        Args:
            ring_fd: Descriptor of the ring, which stays the caller's; -1 for none.

        Raises:
            DeviceError: The system cannot start a process.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "edge_agent.camera.process", str(theirs.fileno()), str(ring_fd)]
        inherited = [theirs.fileno()] + [ring_fd] * (ring_fd >= 0)
        try:
            self._process = subprocess.Popen(
                command,
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**_ENVIRONMENT, **os.environ},
                # Ctrl-C must not reach it before it can ignore it.
                start_new_session=True,
            )
        except OSError as problem:
            ours.close()
            raise DeviceError(
                f"The camera process cannot be started: {problem.strerror}.",
                fix="Free memory or raise the process limit.",
            ) from problem
        finally:
            theirs.close()
        ours.settimeout(0)
        self._socket = ours

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def fileno(self) -> int:
        """Return the descriptor of our end of the socket."""
        return self._socket.fileno()

    def send(self, datagram: bytes) -> None:
        """Send one message; to a process that has died or reads nothing it is lost, which `receive` or time tells."""
        try:
            self._socket.send(datagram)
        except (BrokenPipeError, ConnectionResetError, BlockingIOError):
            return

    def receive(self) -> bytes | None:
        """Return the next message, empty when the process has ended, None when there is none yet."""
        try:
            return self._receive()
        except ConnectionResetError:
            # It left requests unread. Linux reports that before the messages that it sent, and once.
            return self._receive()

    def _receive(self) -> bytes | None:
        try:
            return self._socket.recv(LARGEST_BYTES)
        except BlockingIOError:
            return None

    def end(self, grace_s: float) -> None:
        """End the process and wait for it; when this returns it never writes into the ring again.

        Args:
            grace_s: How long it may take to let go of the camera by itself: a driver whose client is killed can keep
                the camera occupied (nvargus does). 0 for a process that hangs.
        """
        self._socket.close()
        if grace_s and self._ends_within(grace_s):
            return
        self._process.kill()
        # If even that takes long, it is inside a driver call that the kernel cannot interrupt: it dies before it runs
        # another instruction of ours, and Popen reaps it when the next process is started.
        self._ends_within(_END_TIMEOUT_S)

    def _ends_within(self, limit_s: float) -> bool:
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return False
        return True
