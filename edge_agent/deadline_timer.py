"""The deadline of every part, kept by a thread of its own: a verdict comes in time also when the engine hangs."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable

from edge_agent.outbox_records import OpenTrigger

log = logging.getLogger(__name__)

# Also while nothing is due: a thread that stands still must be noticed.
_TURN_S = 0.25


class DeadlineTimer:
    """Calls back for each part whose deadline passes before it is forgotten.

    Args:
        on_overdue: Called in the timer's thread; must store the verdict, for which the first one stored counts.
    """

    def __init__(self, on_overdue: Callable[[OpenTrigger], object]) -> None:
        self._on_overdue = on_overdue
        self._changed = threading.Condition()
        self._due: list[tuple[int, int]] = []
        self._parts: dict[int, OpenTrigger] = {}
        self._stopping = False
        self.turns = 0
        self._thread = threading.Thread(target=self._run, name="deadline", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread; no part is called back any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def watch(self, part: OpenTrigger, deadline_ns: int) -> None:
        """Call back at CLOCK_MONOTONIC `deadline_ns` unless the part is forgotten by then; for any thread."""
        with self._changed:
            self._parts[part.trigger_id] = part
            heapq.heappush(self._due, (deadline_ns, part.trigger_id))
            # Waking the thread for a deadline behind another would only take time from the part that has just begun.
            if self._due[0][1] == part.trigger_id:
                self._changed.notify()

    def forget(self, part: OpenTrigger) -> None:
        """Say that the part has its verdict; for any thread."""
        with self._changed:
            self._parts.pop(part.trigger_id, None)

    def _run(self) -> None:
        while (part := self._next_overdue()) is not None:
            self._call_back(part)

    def _call_back(self, part: OpenTrigger) -> None:
        try:
            self._on_overdue(part)
        except Exception:
            # The next part's deadline matters more than this one's.
            log.exception("overdue part could not be answered meas_id=%s", part.trigger.meas_id)

    def _next_overdue(self) -> OpenTrigger | None:
        with self._changed:
            while not self._stopping:
                self.turns += 1
                if not self._due:
                    self._changed.wait(_TURN_S)
                elif (left_ns := self._due[0][0] - time.monotonic_ns()) > 0:
                    self._changed.wait(min(left_ns / 1e9, _TURN_S))
                elif (part := self._parts.pop(heapq.heappop(self._due)[1], None)) is not None:
                    return part
        return None
