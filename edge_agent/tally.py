"""How many verdicts of which kind there were since the start, and how long the last ones took."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Any

import numpy as np

from edge_agent.inspection import Inspection

LAST_PARTS = 200


class Tally:
    """Counted by the inspection thread and the deadline timer, read by the heartbeat."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._verdicts: Counter[str] = Counter(PASS=0, FAIL=0, INVALID=0)
        self._reasons: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=LAST_PARTS)

    def add(self, inspection: Inspection) -> None:
        """Count a verdict that was stored."""
        with self._lock:
            self._verdicts[inspection.verdict] += 1
            self._reasons.update(inspection.reasons)
            self._latencies.append(inspection.latency_ms)

    def content(self) -> dict[str, Any]:
        """Return the counts, and median and 99th percentile of the last 200 latencies, for a message."""
        with self._lock:
            latencies = list(self._latencies)
            counts = {"verdicts": dict(self._verdicts), "reasons": dict(self._reasons)}
        middle, high = np.quantile(latencies, [0.5, 0.99]).round(3).tolist() if latencies else (None, None)
        return {**counts, "latency_ms": {"p50": middle, "p99": high}}
