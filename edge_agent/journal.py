"""Log lines that systemd's journal understands: each says how serious it is, and leaves the time to the journal."""

from __future__ import annotations

import logging
import os
import sys

_FORMAT = "level=%(levelname)s thread=%(threadName)s %(message)s"
# syslog(3)
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7


class JournalFormatter(logging.Formatter):
    """Puts `<N>` before every line, tracebacks included, as sd-daemon(3) describes it."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), _DEBUG)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def log_to_stderr(level: int) -> None:
    """Send the program's log to stderr, in the journal's way if that is where stderr leads."""
    handler = logging.StreamHandler()
    handler.setFormatter(JournalFormatter(_FORMAT) if _is_journal() else logging.Formatter(f"%(asctime)s {_FORMAT}"))
    logging.basicConfig(level=level, handlers=[handler])


def _is_journal() -> bool:
    # The variable alone says nothing: terminals inherit it.
    status = os.fstat(sys.stderr.fileno())
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
