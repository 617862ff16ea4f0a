"""How many verdicts of which kind there were since the start, and how long they took."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from prometheus_client import Histogram

from edge_agent.inspection import REASONS, Inspection

LAST_PARTS = 200
_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Tally:
    """Counted by the inspection thread and the deadline timer, read by the heartbeat and the health server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._verdicts: Counter[str] = Counter(PASS=0, FAIL=0, INVALID=0)
        self._reasons: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=LAST_PARTS)
        self.latency_s = Histogram(
            "edge_agent_verdict_latency_seconds",
            "From the trigger, in free run from the capture, to the decision.",
            buckets=_BUCKETS_S,
            registry=None,
        )
        self.stages_s = Histogram(
            "edge_agent_stage_duration_seconds",
            "What of that each stage took, and storing the verdict.",
            ["stage"],
            buckets=_BUCKETS_S,
            registry=None,
        )
        self._stage_s = cache(self.stages_s.labels)

    def add(self, inspection: Inspection) -> None:
        """Count a verdict that was given."""
        with self._lock:
            self._verdicts[inspection.verdict] += 1
            self._reasons.update(inspection.reasons)
            self._latencies.append(inspection.latency_ms)
        self.latency_s.observe(inspection.latency_ms / 1e3)

    def add_stages(self, stage_ns: Mapping[str, int]) -> None:
        """Remember how long the stages took, also of a verdict that came too late to be given."""
        for stage, duration_ns in stage_ns.items():
            self._stage_s(stage).observe(duration_ns / 1e9)

    def verdicts(self) -> dict[str, int]:
        """Return how many verdicts of each kind there were."""
        with self._lock:
            return dict(self._verdicts)

    def reasons(self) -> dict[str, int]:
        """Return how many verdicts were INVALID for each reason, those that never were included."""
        with self._lock:
            return {**dict.fromkeys(REASONS, 0), **self._reasons}

    def content(self) -> dict[str, Any]:
        """Return the counts, and median and 99th percentile of the last 200 latencies, for a message."""
        with self._lock:
            latencies = list(self._latencies)
            counts = {"verdicts": dict(self._verdicts), "reasons": dict(self._reasons)}
        middle, high = np.quantile(latencies, [0.5, 0.99]).round(3).tolist() if latencies else (None, None)
        return {**counts, "latency_ms": {"p50": middle, "p99": high}}
