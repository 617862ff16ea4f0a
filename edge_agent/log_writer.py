"""Log lines on their way out: a journal that hangs, or a full pipe, must not hold up a part."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TextIO

from edge_agent.background_writer import BackgroundWriter

_MOST_WAITING = 1000
_STOP_S = 2.0


class LogWriter(logging.Handler):
    """Writes lines in a thread of its own, in order; while a thousand wait, more are lost, and counted.

    Args:
        stream: Only its descriptor is used: a thread that hangs in a buffered stream could not be left behind.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._descriptor = stream.fileno()
        self._writer = BackgroundWriter(_MOST_WAITING)
        self._lost = 0

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    def stop(self) -> None:
        """Write what waits, for 4 s at most."""
        self._writer.stop(_STOP_S)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line; `logging` lets one thread in at a time."""
        if self._lost and self._writer.has_room():
            told = logging.LogRecord(record.name, logging.WARNING, "", 0, "lost_lines=%d", (self._lost,), None)
            self._lost = 0
            self._queue(told)
        if self._writer.has_room():
            self._queue(record)
        else:
            self._lost += 1

    def _queue(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as every handler of `logging`: a mistake in a log call ends nothing
            self.handleError(record)
        else:
            self._writer.offer(partial(self._write, line))

    def _write(self, line: str) -> None:
        left = f"{line}\n".encode(errors="backslashreplace")
        while left:
            left = left[os.write(self._descriptor, left) :]
