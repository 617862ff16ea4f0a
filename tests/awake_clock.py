"""A clock that leaves out the time in which the whole machine stood still, as a virtual one may for seconds."""

import threading
import time

_TICK_S = 0.02
_MOST_PER_TICK_S = 0.1


class AwakeClock:
    """Counts in short ticks, of which none counts for more than 0.1 s however late it comes."""

    def __init__(self) -> None:
        self._awake_s = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def __call__(self) -> float:
        """Return seconds since the start, 0.1 s late at most."""
        return self._awake_s

    def _tick(self) -> None:
        last_s = time.monotonic()
        while not self._ended.wait(_TICK_S):
            now_s = time.monotonic()
            self._awake_s += min(now_s - last_s, _MOST_PER_TICK_S)
            last_s = now_s

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
