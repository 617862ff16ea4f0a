"""Writing that can wait: by a thread of low priority, from a queue that never grows beyond its bound."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger(__name__)

_NICE = 10


class BackgroundWriter:
    """Does one job after another; what fails is said once and counted.

    Args:
        most_waiting: How many jobs may wait; each may hold a frame.
    """

    def __init__(self, most_waiting: int) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(most_waiting)
        self._thread = threading.Thread(target=self._run, name="background-writer", daemon=True)
        self.failed = 0
        self.error: str | None = None

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread after what waits, or after the timeout."""
        if self._thread.is_alive():
            with suppress(queue.Full):
                self._jobs.put(None, timeout=timeout_s)
            self._thread.join(timeout_s)

    def has_room(self) -> bool:
        """Return whether a job would be taken now; for the only thread that offers."""
        return not self._jobs.full()

    def offer(self, job: Callable[[], None]) -> None:
        """Hand over a job after `has_room`."""
        self._jobs.put_nowait(job)

    def _run(self) -> None:
        # Linux keeps a priority for each thread: PNGs must not take the engine's core.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while (job := self._jobs.get()) is not None:
            self._do(job)

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as problem:
            self.failed += 1
            if str(problem) != self.error:
                log.exception("something could not be written")
            self.error = str(problem)
        else:
            self.error = None
