"""The agent's side of the camera: asks the camera process for frames, and replaces it when it dies or hangs."""

from __future__ import annotations

import random
import select
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.camera.child import CameraChild
from edge_agent.camera.messages import (
    BadFrame,
    CameraEvent,
    CameraLost,
    CameraOpened,
    Capture,
    Failed,
    FrameCaptured,
    FramesEnded,
    FrameSkipped,
    Setup,
    decode,
    encode,
    error_from,
    numbered,
)
from edge_agent.camera.source import check_camera_uri
from edge_agent.camera.uri import describe_uri
from edge_agent.ring import FrameRing
from engines.errors import AgentError, CameraError, ConfigError, DeviceError


@dataclass(frozen=True)
class Patience:
    """How long the camera may take, and how soon it is opened again after it was lost."""

    # With what the agent's own loop takes, a loss is known within 2 s.
    answer_timeout_s: float = 1.5
    open_timeout_s: float = 15.0
    first_retry_s: float = 0.2
    longest_retry_s: float = 5.0


class CameraProcess:
    """One camera for as long as the agent runs, whatever becomes of the process behind it.

    For one thread, which must live as long as the camera: the kernel ends the camera process with it. Call `next_event` at least once a second, also while nothing is asked for: hangs
    are found and the camera is opened again from within it. Every request gets exactly one answer: `FrameCaptured`,
    `BadFrame`, `FramesEnded`, or a `CameraLost` that lists it. Until then its slot belongs to the camera process, from
    then on to the caller.
    """

    def __init__(
        self,
        uri: str,
        ring: FrameRing,
        *,
        is_fired: bool = False,
        patience: Patience | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Check the URI and touch nothing.

        Args:
            uri: The camera.
            ring: Where it writes.
            is_fired: An electrical trigger fires it: requests wait for that without a limit, and a frame that finds
                none is told as `FrameSkipped`.
            patience: Time limits.
            now_ns: CLOCK_MONOTONIC.
            jitter: Gives numbers in [0, 1).

        Raises:
            ConfigError: The URI is wrong.
        """
        check_camera_uri(uri)
        self._uri, self._is_fired = uri, is_fired
        self._ring = ring
        self._patience = patience or Patience()
        self._now_ns = now_ns
        self._jitter = jitter
        self._poll = select.epoll()
        self._child: CameraChild | None = None
        self._events: deque[CameraEvent] = deque()
        self._pending: OrderedDict[int, int] = OrderedDict()
        self._requests = self._consumed = self._frames = self._losses = self._skipped = 0
        self._is_open = self._was_open = False
        self._openings = 0
        self._deadline_ns: int | None = None
        self._last_error: AgentError = CameraError(f"Camera {describe_uri(uri)} is not started.", fix="Start it first.")

    @property
    def is_open(self) -> bool:
        """Whether the camera delivers, as far as the events taken so far tell; for any thread."""
        return self._is_open

    @property
    def reconnects(self) -> int:
        """How often it was opened again after it was lost; for any thread."""
        return max(0, self._openings - 1)

    @property
    def skipped(self) -> int:
        """How many frames it took while nobody asked; for any thread."""
        return self._skipped

    @property
    def pid(self) -> int | None:
        """Process id of the camera process, None while there is none."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Start the camera process and return at once; `CameraOpened` or `CameraLost` follows as an event."""
        if self._child is None:
            self._spawn()

    def request(self, slot: int, newer_than_ns: int = 0) -> int:
        """Ask for one frame, taken after this call and after a time.

        Args:
            slot: Slot of the ring that the frame is written to; it is the camera process's until the answer.
            newer_than_ns: CLOCK_MONOTONIC, for example when the trigger came.

        Returns:
            The number that its answer carries. While there is no camera, the answer is a `CameraLost` at once.
        """
        if not 0 <= slot < len(self._ring):
            raise ValueError(
                f"Slot {slot} was asked for, but the ring has {len(self._ring)}; use 0 to {len(self._ring) - 1}."
            )
        number = self._requests
        self._requests += 1
        if self._child is None:
            self._consumed += 1
            self._events.append(CameraLost(self._last_error, (number,), is_final=self._deadline_ns is None))
            return number
        self._pending[number] = newer_than_ns
        if len(self._pending) == 1 and self._is_open:
            self._expect_answer()
        self._child.send(encode(Capture(number, slot, newer_than_ns)))
        return number

    def next_event(self, timeout_s: float) -> CameraEvent | None:
        """Wait for the next event, at most so long; None if there was none."""
        end_ns = time.monotonic_ns() + round(timeout_s * 1e9)
        while not self._events:
            left_ns = end_ns - time.monotonic_ns()
            if self._child is not None and self._poll.poll(self._wait_s(left_ns)):
                self._read()
            elif self._child is None and left_ns > 0:
                time.sleep(self._wait_s(left_ns))
            if not self._events and self._deadline_ns is not None and self._now_ns() >= self._deadline_ns:
                self._act_on_deadline()
            if left_ns <= 0:
                break
        return self._events.popleft() if self._events else None

    def give_up(self, error: AgentError) -> None:
        """Take the camera for lost, for a reason that only the caller can see."""
        if self._child is not None:
            self._lose(error)

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is an event to read; the same one after every restart."""
        return self._poll.fileno()

    def close(self) -> None:
        """End the camera process and wait for it; the ring stays as it is. Harmless when called twice."""
        self._drop_child(grace_s=1.0)
        self._is_open = False
        self._deadline_ns = None
        self._poll.close()

    def _spawn(self) -> None:
        try:
            self._child = CameraChild(self._ring.fd)
        except DeviceError as problem:
            self._lose(problem)
            return
        self._poll.register(self._child.fileno(), select.EPOLLIN)
        self._deadline_ns = self._now_ns() + round(self._patience.open_timeout_s * 1e9)
        setup = Setup(self._uri, self._ring.frame_shape, len(self._ring), self._consumed, self._is_fired)
        self._child.send(encode(setup))

    def _drop_child(self, *, grace_s: float = 0.0) -> None:
        if self._child is not None:
            self._poll.unregister(self._child.fileno())
            self._child.end(grace_s)
            self._child = None

    def _wait_s(self, left_ns: int) -> float:
        if self._deadline_ns is not None:
            left_ns = min(left_ns, self._deadline_ns - self._now_ns())
        return max(left_ns, 0) / 1e9

    def _read(self) -> None:
        if self._child is None:
            return
        datagram = self._child.receive()
        if datagram is None:
            return
        if not datagram:
            self._lose(
                CameraError(
                    f"The camera process of {describe_uri(self._uri)} died.",
                    fix="A running agent starts it again; its last lines in the log say why.",
                )
            )
            return
        try:
            self._take(decode(datagram))
        except DeviceError as problem:
            self._lose(problem)

    def _take(self, message: object) -> None:
        match message:
            case CameraOpened():
                self._is_open = self._was_open = True
                self._openings += 1
                self._deadline_ns = None
                self._expect_answer()
                self._events.append(message)
            case FrameCaptured() | BadFrame():
                self._answered(message.request)
                self._losses = 0
                self._skipped += message.skipped
                self._events.append(numbered(message, self._frames))
                self._frames += 1
            case FrameSkipped():
                self._skipped += 1
                self._events.append(message)
            case FramesEnded():
                self._answered(message.request)
                self._events.append(message)
            case Failed():
                self._lose(error_from(message))
            case _:
                raise DeviceError(
                    f"The camera process sent {message}.", fix="Install agent and camera process together."
                )

    def _answered(self, request: int) -> None:
        if self._pending.pop(request, None) is None:
            raise DeviceError(
                f"Request {request} was answered twice.", fix="Install agent and camera process together."
            )
        self._consumed += 1
        self._expect_answer()

    def _expect_answer(self) -> None:
        if not self._pending or self._is_fired:
            self._deadline_ns = None
            return
        start_ns = max(self._now_ns(), next(iter(self._pending.values())))
        self._deadline_ns = start_ns + round(self._patience.answer_timeout_s * 1e9)

    def _act_on_deadline(self) -> None:
        if self._child is None:
            self._spawn()
            return
        limit_s = self._patience.answer_timeout_s if self._is_open else self._patience.open_timeout_s
        doing = "has not answered" if self._is_open else "did not open"
        self._lose(
            CameraError(
                f"Camera {describe_uri(self._uri)} {doing} for {limit_s:g} s and was ended.",
                fix="It is started again; if that repeats, check cable, power and the camera's trigger mode.",
            )
        )

    def _lose(self, error: AgentError) -> None:
        self._drop_child()
        lost = tuple(self._pending)
        # A lost request takes its frame with it: what made the process die is not delivered again, and the n-th
        # request of a folder stays its n-th frame.
        self._consumed += len(lost)
        self._pending.clear()
        self._is_open = False
        self._last_error = error
        # What opened once is configured right: the camera came back as USB2, or its folder is not mounted yet.
        is_final = isinstance(error, ConfigError) and not self._was_open
        self._deadline_ns = None if is_final else self._now_ns() + self._back_off_ns()
        self._losses += 1
        self._events.append(CameraLost(error, lost, is_final=is_final))

    def _back_off_ns(self) -> int:
        ceiling_s = min(self._patience.first_retry_s * 2.0 ** min(self._losses, 30), self._patience.longest_retry_s)
        return int(ceiling_s * (0.5 + 0.5 * self._jitter()) * 1e9)
