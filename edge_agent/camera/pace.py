"""Recorded frames as far apart as they were taken."""

from __future__ import annotations

import time

# A recording may have been interrupted for a night; a longer silence is taken for a camera that hangs.
LONGEST_GAP_NS = 1_000_000_000


class Pace:
    """Holds frames back until each is due."""

    def __init__(self) -> None:
        self._due_ns = 0

    def wait(self, gap_ns: int) -> None:
        """Wait until so long after the frame before was due; from one that was late on, count anew."""
        now_ns = time.monotonic_ns()
        due_ns = self._due_ns + min(max(gap_ns, 0), LONGEST_GAP_NS)
        if due_ns > now_ns:
            time.sleep((due_ns - now_ns) / 1e9)
        self._due_ns = max(due_ns, now_ns)
