"""Who asked the agent for what, and what became of it: one JSON line a command, kept over restarts.

With it a command that comes a second time is recognised: its sender did not get the reply, or somebody replays it.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from edge_agent.ids import kernel_boot_id
from edge_agent.messages import Command, encode_json
from engines.errors import StorageError
from engines.files import sync_directory
from engines.untrusted import parse_json

log = logging.getLogger(__name__)

NAME, OLDER_NAME = "audit.jsonl", "audit.1.jsonl"
MAX_BYTES = 1024 * 1024
ANSWERED_FOR_S = 600.0
_MOST_REMEMBERED = 1000

# `done` and `failed` were executed; `refused` found no room and may be sent again; `repeated` had its answer before.
Outcome = Literal["done", "failed", "refused", "repeated"]
_EXECUTED = frozenset({"done", "failed"})


@dataclass(frozen=True)
class Answer:
    """What the reply to a command said."""

    problem: str | None
    threshold_rev: str


class AuditLog:
    """Appends to `audit.jsonl`; at 1 MiB it becomes `audit.1.jsonl`, and the one before is gone. For any thread.

    Args:
        folder: The state directory.
        wall_clock: Seconds since 1970, for the lines.
        clock: CLOCK_MONOTONIC in seconds, for how long an answer is remembered.
        boot_id: This start of the operating system, as in `ids.kernel_boot_id`; injected for tests.

    Raises:
        StorageError: The file is there but cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        boot_id: str | None = None,
    ) -> None:
        self._path, self._older = folder / NAME, folder / OLDER_NAME
        self._boot_id = boot_id or kernel_boot_id()
        self._wall_clock, self._clock = wall_clock, clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[tuple[str, str], tuple[Answer, float]] = OrderedDict()
        # The line before may have been cut off by a power failure or a full disk.
        self._is_line_open = True
        self.error: StorageError | None = None
        for line in _lines(self._older) + _lines(self._path):
            self._remember_line(line)

    def answer_to(self, command: Command) -> Answer | None:
        """Return what was replied to the same command with the same correlation id within the last ten minutes."""
        if command.correlation_id is None:
            return None
        with self._lock:
            answer, until_s = self._answers.get(_key(command.name, command.correlation_id), (None, 0.0))
        return answer if self._clock() < until_s else None

    def add(self, command: Command, outcome: Outcome, answer: Answer) -> None:
        """Remember an answer, and write its line; what was executed is on the disk when this returns.

        Raises:
            StorageError: The line was not written, or not whole; the answer is remembered until the end.
        """
        if outcome in _EXECUTED:
            with self._lock:
                self._remember(command.name, command.correlation_id, answer, ANSWERED_FOR_S)
        line = {
            "command": command.name,
            "correlation_id": command.correlation_id,
            "outcome": outcome,
            "problem": answer.problem,
            "threshold_rev": answer.threshold_rev,
            "boot": self._boot_id,
            "uptime_s": round(self._clock(), 3),
        }
        self._write(line, is_durable=outcome in _EXECUTED)

    def note(self, event: str, **facts: Any) -> None:
        """Write down what happened to verdicts without a command; it is on the disk when this returns.

        Raises:
            StorageError: The line was not written, or not whole.
        """
        self._write({"event": event, **facts}, is_durable=True)

    def _write(self, content: dict[str, Any], *, is_durable: bool) -> None:
        time = datetime.fromtimestamp(self._wall_clock(), timezone.utc).isoformat(timespec="milliseconds")
        with self._lock:
            try:
                self._append(encode_json({"time": time, **content}) + b"\n", is_durable=is_durable)
            except OSError as problem:
                self._is_line_open = True
                self.error = StorageError(
                    f"{self._path} cannot be written: {problem.strerror}.",
                    fix="Make room on that disk, or give the service its state directory.",
                )
                raise self.error from problem
            self.error = None

    def _append(self, line: bytes, *, is_durable: bool) -> None:
        is_new = not self._path.exists()
        if not is_new and self._path.stat().st_size + len(line) > MAX_BYTES:
            self._path.replace(self._older)
            is_new = True
        with self._path.open("ab") as file:
            file.write(b"\n" + line if self._is_line_open and not is_new else line)
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        if is_new:
            sync_directory(self._path.parent)
        self._is_line_open = False

    def _remember(self, name: str, correlation_id: str | int | None, answer: Answer, for_s: float) -> None:
        if correlation_id is None:
            return
        key = _key(name, correlation_id)
        self._answers[key] = answer, self._clock() + for_s
        self._answers.move_to_end(key)
        while len(self._answers) > _MOST_REMEMBERED:
            self._answers.popitem(last=False)

    def _remember_line(self, line: bytes) -> None:
        try:
            entry = parse_json(line)
            # Not by the wall clock: where nobody has set it, a line of last year may be of the future, or minutes old,
            # and a new command would get that answer and not be executed.
            if "event" in entry or "boot" not in entry or entry["boot"] != self._boot_id:
                return
            age_s = self._clock() - entry["uptime_s"]
            if entry["outcome"] in _EXECUTED and age_s < ANSWERED_FOR_S:
                answer = Answer(entry["problem"], entry["threshold_rev"])
                self._remember(entry["command"], entry["correlation_id"], answer, ANSWERED_FOR_S - age_s)
        except (KeyError, TypeError, ValueError):
            log.warning("audit log: a line that was cut off is skipped")


def _lines(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().splitlines() if line] if path.exists() else []
    except OSError as problem:
        raise StorageError(
            f"{path} cannot be read: {problem.strerror}.", fix="Give it to the user of the service."
        ) from problem


def _key(name: str, correlation_id: str | int) -> tuple[str, str]:
    # 41 and "41" are different ids, and Python takes 1 and true for the same key.
    return name, json.dumps(correlation_id)
