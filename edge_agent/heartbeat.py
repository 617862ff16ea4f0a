"""One truth for systemd and for the PLC: as long as every loop turns, the watchdog is fed and the life counter counts.

A loop that stands still, whatever the reason, ends both at once: systemd starts the agent again, and a PLC that rejects
without a life counter needs to know nothing of reasons. An idle line, a lost camera or an absent broker is no standstill.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from engines.service_manager import tell_service_manager

log = logging.getLogger(__name__)

# Every loop turns at least four times a second, also while it waits.
LONGEST_STANDSTILL_S = 3.0
_TURN_S = 0.5
_TURNS_OF_A_BEAT = 2


class Heartbeat:
    """A thread that looks at the loops.

    Args:
        turns: For each loop, how often it has turned so far; read from this thread.
        beat: Called once a second with the life counter while all of them turn; must not block or raise.
        clock: CLOCK_MONOTONIC in seconds, injected for tests.
    """

    def __init__(
        self,
        turns: Mapping[str, Callable[[], int]],
        beat: Callable[[int], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turns, self._beat, self._clock = turns, beat, clock
        self._last: dict[str, tuple[int, float]] = {}
        self._standing: list[str] = []
        self._looked_at = clock()
        self._looks = self._life = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Tell the service manager that the agent runs, and begin."""
        tell_service_manager("READY=1")
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread, and tell the service manager that the agent stops."""
        tell_service_manager("STOPPING=1")
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def life(self) -> int:
        """The life counter; for any thread."""
        return self._life

    def standing(self) -> list[str]:
        """Return the loops that stand still, this one included; for any thread."""
        if self._clock() - self._looked_at > LONGEST_STANDSTILL_S:
            return ["heartbeat"]
        return self._standing

    def look(self) -> bool:
        """Look at every loop once; feed the watchdog and beat if all of them turn, and return whether they do."""
        now = self._looked_at = self._clock()
        for name, turns_of in self._turns.items():
            turns = turns_of()
            if name not in self._last or self._last[name][0] != turns:
                self._last[name] = turns, now
        standing = [name for name, (_, since) in self._last.items() if now - since > LONGEST_STANDSTILL_S]
        if standing != self._standing:
            self._standing = standing
            log.error("standstill=%s", ",".join(standing)) if standing else log.warning("every loop turns again")
        if standing:
            return False
        tell_service_manager("WATCHDOG=1")
        if self._looks % _TURNS_OF_A_BEAT == 0:
            self._life += 1
            self._beat(self._life)
        self._looks += 1
        return True

    def _run(self) -> None:
        while not self._stopping.wait(_TURN_S):
            self._look_whatever_happens()

    def _look_whatever_happens(self) -> None:
        try:
            self.look()
        except Exception:
            # Without this thread everything stands still for systemd and for the PLC.
            log.exception("heartbeat failed")
