"""What `edge-agent watch` shows: verdicts and parts as lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from edge_agent.consumer import PartResult


def now() -> str:
    """Return the wall clock in UTC, to the millisecond."""
    return datetime.now(timezone.utc).strftime("%H:%M:%S.%f")[:-3]


def verdict_line(content: Mapping[str, Any]) -> str:
    """Return a verdict, whatever it holds; not yet printable."""
    words = [now(), str(content.get("verdict")), f"seq={content.get('seq')}"]
    words += [
        f"{key}={content[key]}" for key in ("meas_id", "part_id", "score", "limit") if content.get(key) is not None
    ]
    reasons = content.get("reasons")
    if isinstance(reasons, list) and reasons:
        words.append("reasons=" + ",".join(map(str, reasons)))
    words.append(f"defects={content.get('defect_count')} latency_ms={content.get('latency_ms')}")
    words += [flag for flag in ("is_simulated", "is_historical") if content.get(flag)]
    return " ".join(words)


def printable(text: str) -> str:
    """Escape what a terminal would obey or could not show: messages come from anybody."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def part_line(result: PartResult) -> str:
    """Return what the PLC did with a part, and why."""
    line = printable(f"{result.action} {result.trigger.part_id}: {result.why}")
    return line if result.round_trip_ms is None else f"{line} ({result.round_trip_ms:.1f} ms)"


def summary_lines(results: Sequence[PartResult], tally: Counter[str], contradictions: int) -> Iterator[str]:
    """Say what became of all parts."""
    counts = ", ".join(f"{count} {printable(what)}" for what, count in tally.most_common())
    yield f"{sum(tally.values())} parts: {counts}"
    times = sorted(result.round_trip_ms for result in results if result.round_trip_ms is not None)
    if times:
        p50, p99 = times[len(times) // 2], times[min(len(times) - 1, len(times) * 99 // 100)]
        yield f"Round trip p50 {p50:.1f} ms, p99 {p99:.1f} ms."
    if contradictions:
        yield f"{contradictions} parts got a second, different verdict: that must not happen."
