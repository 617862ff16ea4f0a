"""Ends the inspection thread's wait: from any thread, and from a signal handler."""

from __future__ import annotations

import os
from contextlib import suppress


class WakePipe:
    """A pipe to wait for with `select`; wake-ups that come before it is cleared are one, but for thousands."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor that is readable after a wake-up."""
        return self._reader

    def wake(self) -> None:
        """End the wait, or the next one; never waits itself."""
        # A pipe that is full holds wake-ups enough.
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def clear(self) -> None:
        """Forget the wake-ups until now."""
        with suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def close(self) -> None:
        """Close both ends."""
        os.close(self._reader)
        os.close(self._writer)
