"""Lines of one kind that come by the dozen are counted, not written: 50 good parts a second must not drown the journal."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

log = logging.getLogger(__name__)

MOST = 20
PERIOD_S = 60.0
# For the `extra` of a line that is always written: what somebody will look for one by one.
ALWAYS = {"is_always_written": True}


@dataclass
class _Kind:
    count: int = 0
    level: int = logging.INFO
    last: str = ""


class LogLimit(logging.Filter):
    """Lets 20 lines a minute through from each place in the program, and then says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, int], _Kind] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-limit", daemon=True)

    def start(self) -> None:
        """Begin a new minute every minute."""
        self._thread.start()

    def stop(self) -> None:
        """Say what was left out so far, and end the thread."""
        self._stopping.set()
        self._thread.join()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written."""
        if getattr(record, "is_always_written", False):
            return True
        with self._lock:
            kind = self._kinds.setdefault((record.pathname, record.lineno), _Kind())
            kind.count += 1
            if kind.count <= MOST:
                return True
            kind.level, kind.last = record.levelno, record.getMessage()
            return False

    def begin_minute(self) -> None:
        """Say what was left out, the last line included, and count anew."""
        with self._lock:
            kinds, self._kinds = self._kinds, {}
        for kind in kinds.values():
            if kind.count > MOST:
                log.log(kind.level, "left_out=%d last=%s", kind.count - MOST, kind.last, extra=ALWAYS)

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD_S):
            self.begin_minute()
        self.begin_minute()
