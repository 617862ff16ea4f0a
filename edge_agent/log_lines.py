"""The log: one event a line, `key=value`, and a value of more than one word in quotes, as JSON writes a text.

To the journal (systemd) each line begins with its priority, `<3>` to `<7>` (sd-daemon(3)), and has no time: the journal
has its own.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from typing import TextIO

from edge_agent.log_limit import LogLimit
from edge_agent.log_writer import LogWriter

_PLAIN = re.compile(r'[^\s"=\\]+')
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_PRIORITY = 7


@contextmanager
def log_lines(stream: TextIO, *, verbose: bool) -> Iterator[None]:
    """Write the log to a stream; unless it is verbose, lines of one kind are limited in number."""
    handler = LogWriter(stream)
    handler.setFormatter(LineFormatter(to_journal=is_journal(stream)))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    handler.start()
    with ExitStack() as running:
        running.callback(handler.stop)
        if not verbose:
            limit = LogLimit()
            handler.addFilter(limit)
            limit.start()
            running.callback(limit.stop)
        yield


def is_journal(stream: TextIO) -> bool:
    """Return whether systemd connected this stream to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class LineFormatter(logging.Formatter):
    """Quotes every argument of a message that is more than one word, so that call sites need not."""

    def __init__(self, *, to_journal: bool) -> None:
        super().__init__()
        self._to_journal = to_journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line = f"level={record.levelname} thread={quoted(str(record.threadName))} {_message(record)}"
        if record.exc_info:
            line += f" traceback={quoted(self.formatException(record.exc_info))}"
        line = line.replace("\r", "\\r").replace("\n", "\\n")
        if self._to_journal:
            priority = next((p for level, p in _PRIORITIES if record.levelno >= level), _DEBUG_PRIORITY)
            return f"<{priority}>{line}"
        return f"time={datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec='milliseconds')} {line}"


def quoted(text: str) -> str:
    """Return one plain word as it is, everything else as a JSON string."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _message(record: logging.LogRecord) -> str:
    arguments = record.args
    if not arguments:
        return record.getMessage()
    if isinstance(arguments, Mapping):
        return str(record.msg) % {key: _word(value) for key, value in arguments.items()}
    return str(record.msg) % tuple(_word(value) for value in arguments)


def _word(value: object) -> object:
    return value if isinstance(value, int | float) else _Word(value)


class _Word:
    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return quoted(str(self._value))

    def __repr__(self) -> str:
        return quoted(repr(self._value))
