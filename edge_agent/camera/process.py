"""The camera process: `python -m edge_agent.camera.process SOCKET_FD RING_FD`, started by `client.py`.

It does what may hang or crash, so that it can be killed: driver calls and decoders. It answers `capture` requests in
order, and ends when the agent's end of the socket closes. RING_FD is -1 to learn only what the camera delivers.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass

from edge_agent.camera.messages import (
    LARGEST_BYTES,
    BadFrame,
    CameraOpened,
    Capture,
    FrameCaptured,
    FramesEnded,
    FrameSkipped,
    Setup,
    decode,
    encode,
    failed_from,
)
from edge_agent.camera.opencv import settle_opencv
from edge_agent.camera.source import CameraSource, EndOfFrames, FrameInfo, GrabTimeout, open_camera
from edge_agent.ring import FrameRing
from engines.errors import AgentError, CameraError, ConfigError, DeviceError, FrameError

_PR_SET_PDEATHSIG = 1
_LONGEST_TEXT = 4000
# The next frame is made ready when the engine has most likely finished with this one: both want the same processors.
_SETTLE_MS = 40


class AgentGone(Exception):  # noqa: N818 - an end is no error
    """The agent closed its end of the socket."""


@dataclass
class _Waiting:
    """A request that has no frame yet; `grabs` counts those that began, and whose frame came, after `newer_than_ns`."""

    capture: Capture
    newer_than_ns: int
    grabs: int = 0


class CameraServer:
    """Answers the agent's requests with the frames of one camera; `is_fired` is explained at `Setup`."""

    def __init__(self, agent: socket.socket, source: CameraSource, ring: FrameRing, *, is_fired: bool = False) -> None:
        self._agent = agent
        self._source = source
        self._ring = ring
        self._readable = select.poll()
        self._readable.register(agent, select.POLLIN)
        self._pending: deque[_Waiting] = deque()
        self._is_fired = is_fired
        self._skipped = 0
        self._last_driver_ns: int | None = None

    def serve(self) -> None:
        """Answer requests until the agent goes away.

        Raises:
            AgentGone: The agent closed the socket.
            CameraError: The camera is lost.
        """
        try:
            while True:
                if self._is_fired:
                    self._serve_fired()
                elif self._source.is_live:
                    self._serve_live()
                else:
                    self._serve_next()
        except EndOfFrames:
            while True:
                self._answer_ended()

    def _serve_next(self) -> None:
        if not self._readable.poll(_SETTLE_MS):
            self._source.prepare()
        self._receive()
        began_ns = time.monotonic_ns()
        info = self._source.grab()
        self._deliver(info, began_ns, time.monotonic_ns())

    def _serve_live(self) -> None:
        while self._has_message():
            self._receive()
        began_ns = time.monotonic_ns()
        info = self._source.grab()
        ended_ns = time.monotonic_ns()
        for waiting in self._pending:
            since_ns = began_ns if info.arrived_ns is None else min(began_ns, info.arrived_ns)
            waiting.grabs += since_ns >= waiting.newer_than_ns
        if not self._pending:
            self._skipped += 1
        elif self._is_fresh(self._pending[0], began_ns, info.driver_ns):
            self._deliver(info, began_ns, ended_ns)

    def _serve_fired(self) -> None:
        began_ns = time.monotonic_ns()
        try:
            info = self._source.grab()
        except GrabTimeout:
            # Nobody fired it. What waits for the agent's end meanwhile is seen here, too.
            while self._has_message():
                self._receive()
            return
        ended_ns = time.monotonic_ns()
        while self._has_message():
            self._receive()
        before_ns, self._last_driver_ns = self._last_driver_ns, info.driver_ns
        if info.driver_ns is not None and info.driver_ns == before_ns:
            # V4L2 can say that there is a frame when nothing has fired the camera (opencv issue 25846).
            return
        if self._pending:
            self._deliver(info, began_ns, ended_ns)
        else:
            send(self._agent, encode(FrameSkipped(ended_ns)))

    def _is_fresh(self, waiting: _Waiting, began_ns: int, driver_ns: int | None) -> bool:
        if began_ns < waiting.newer_than_ns:
            return False
        if driver_ns is not None:
            return driver_ns >= waiting.newer_than_ns
        # Counted, not timed: a grab that took long may have been a full queue and a busy CPU.
        return waiting.grabs > self._source.queued_frames

    def _deliver(self, info: FrameInfo, began_ns: int, ended_ns: int) -> None:
        request, slot = self._pending[0].capture.request, self._pending[0].capture.slot
        answer: FrameCaptured | BadFrame
        self._ring.begin_write(slot)
        try:
            self._source.retrieve(self._ring.slot(slot))
        except FrameError as problem:
            self._ring.end_write(slot)
            message = str(problem)[:_LONGEST_TEXT]
            answer = BadFrame(request, slot, problem.reason, message, info.source, began_ns, time.monotonic_ns())
        else:
            self._ring.end_write(slot)
            generation, captured_ns = self._ring.generation(slot), info.driver_ns or ended_ns
            written_ns = time.monotonic_ns()
            answer = FrameCaptured(request, slot, generation, began_ns, captured_ns, written_ns, info.source)
        self._pending.popleft()
        send(self._agent, encode(dataclasses.replace(answer, skipped=self._skipped)))
        self._skipped = 0

    def _answer_ended(self) -> None:
        if not self._pending:
            self._receive()
        send(self._agent, encode(FramesEnded(self._pending.popleft().capture.request)))

    def _has_message(self) -> bool:
        return bool(self._readable.poll(0))

    def _receive(self) -> None:
        message = receive(self._agent)
        if not isinstance(message, Capture) or not 0 <= message.slot < len(self._ring):
            raise DeviceError(f"The agent asked for {message}.", fix="Start both from the same installation.")
        self._pending.append(_Waiting(message, max(time.monotonic_ns(), message.newer_than_ns)))


def send(agent: socket.socket, datagram: bytes) -> None:
    """Send one message.

    Raises:
        AgentGone: Nobody is there to read it.
    """
    try:
        agent.send(datagram)
    except (BrokenPipeError, ConnectionResetError) as problem:
        raise AgentGone from problem


def receive(agent: socket.socket) -> object:
    """Wait for one message.

    Raises:
        AgentGone: There will be none.
        DeviceError: It makes no sense.
    """
    try:
        datagram = agent.recv(LARGEST_BYTES)
    except ConnectionResetError as problem:
        # The agent left answers unread.
        raise AgentGone from problem
    if not datagram:
        raise AgentGone
    return decode(datagram)


def main(argv: list[str]) -> int:
    """Run the camera process; returns an exit code that only people read."""
    _end_with_parent()
    agent = socket.socket(fileno=int(argv[0]))
    try:
        setup = receive(agent)
        if not isinstance(setup, Setup):
            raise DeviceError(f"The agent began with {setup}.", fix="Start both from the same installation.")
        _run(agent, setup, int(argv[1]))
    except AgentGone:
        return 0
    except AgentError as error:
        send(agent, encode(failed_from(error)))
        return 1
    return 0


def _run(agent: socket.socket, setup: Setup, ring_fd: int) -> None:
    settle_opencv()
    source = open_camera(setup.uri, skip=setup.skip, is_fired=setup.is_fired)
    try:
        if setup.is_fired and not source.is_live:
            raise ConfigError(
                "Nothing can fire a camera that delivers its frames on request.",
                fix="With camera.mode hardware_triggered use a live camera, for example v4l2:// or gst://.",
            )
        send(agent, encode(CameraOpened(source.frame_shape, source.is_live, source.is_simulated)))
        if ring_fd < 0 or setup.frame_shape is None:
            receive(agent)
            return
        ring = FrameRing.attach(ring_fd, setup.frame_shape, setup.slots)
        CameraServer(agent, source, ring, is_fired=setup.is_fired).serve()
    finally:
        source.close()


def _end_with_parent() -> None:
    # Ctrl-C reaches the whole terminal, but only the agent decides when the camera stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    # The socket's end goes unseen while a driver call hangs; the kernel's signal does not.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        problem = os.strerror(ctypes.get_errno())
        raise CameraError(f"The kernel refused PR_SET_PDEATHSIG: {problem}.", fix="Allow prctl in the unit's filter.")
    if os.getppid() != parent:
        raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
