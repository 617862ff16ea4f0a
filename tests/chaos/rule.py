"""The pass rule, the same for every fault: what must be true of a line once the fault is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chaos.usage import Usage

CONVERGES_WITHIN_S = 5.0
# The consumer's wall clock and the station's are the same one, read to the microsecond.
_CLOCK_ERROR_NS = 2_000
_MOST_GROWTH_MB, _MOST_NEW_THREADS, _MOST_NEW_DESCRIPTORS = 40.0, 1, 4


@dataclass
class Part:
    """What the consumer knows of one part: when it asked (wall clock), what it did, and every verdict it received."""

    meas_id: int
    asked_ns: int
    action: str | None = None
    verdicts: list[Mapping[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Evidence:
    """What is judged.

    Attributes:
        parts: Every part that the consumer asked for.
        accepted: Measurement ids whose trigger the agent acknowledged to the broker, or has in its journal.
        converged_s: What happened, and how long the retained `state` took to become true after it, each time.
        usage: Of the agent's process, in order of time; one process only.
        is_clock_true: Whether agent and consumer have the same wall clock.
    """

    parts: Mapping[int, Part]
    accepted: frozenset[int]
    converged_s: Sequence[tuple[str, float]] = ()
    usage: Sequence[Usage] = ()
    is_clock_true: bool = True


@dataclass(frozen=True)
class Violations:
    """Measurement ids, or what was measured, by the rule that they break; empty where all is well."""

    lost: list[int]
    doubled: list[int]
    contradicted: list[int]
    let_go: list[int]
    stale: list[int]
    undecided: list[int]
    slow_state: list[str]
    growth: list[str]

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def told(self, parts: Mapping[int, Part]) -> dict[str, Any]:
        """Return the rules that were broken, and all that is known of the parts that broke them."""
        broken = {rule: found for rule, found in vars(self).items() if found}
        meas_ids = {one for found in broken.values() for one in found if isinstance(one, int)}
        return {"violations": broken, "witnesses": [vars(parts[one]) for one in sorted(meas_ids) if one in parts]}


def assert_pass_rule(evidence: Evidence) -> None:
    """Every trigger that the agent accepted has exactly one terminal verdict at the reference consumer.

    A trigger that never reached it ends in the consumer's own timeout, which is a reject. No verdict comes from a frame
    that is not newer than its trigger. `state` converges within 5 s, and nothing grows without bound.
    """
    found = find_violations(evidence)
    assert not found, found


def find_violations(evidence: Evidence) -> Violations:
    """Return what breaks the rule."""
    parts = evidence.parts
    results = {meas_id: {v["result_id"] for v in part.verdicts} for meas_id, part in parts.items()}
    return Violations(
        lost=[meas_id for meas_id in sorted(evidence.accepted) if not results.get(meas_id)],
        doubled=[meas_id for meas_id, ids in results.items() if len(ids) > 1],
        contradicted=[meas_id for meas_id, part in parts.items() if _contradicts_itself(part)],
        let_go=[meas_id for meas_id, part in parts.items() if part.action == "accept" and not _has_pass(part)],
        stale=_stale(evidence),
        undecided=[meas_id for meas_id, part in parts.items() if part.action is None],
        slow_state=[f"{what}: {s:.1f} s" for what, s in evidence.converged_s if s > CONVERGES_WITHIN_S],
        growth=_growth(evidence.usage),
    )


def _has_pass(part: Part) -> bool:
    return any(verdict["verdict"] == "PASS" and not verdict["is_historical"] for verdict in part.verdicts)


def _contradicts_itself(part: Part) -> bool:
    """The same result may come as often as it likes, but says the same each time; only its age may be told."""
    contents = [{key: value for key, value in v.items() if key != "is_historical"} for v in part.verdicts]
    return any(content != contents[0] for content in contents)


def _stale(evidence: Evidence) -> list[int]:
    """Parts judged by a frame that is older than their trigger, or that judged another part, too."""
    found, judged_by = [], {}
    for meas_id, part in evidence.parts.items():
        for verdict in part.verdicts:
            if verdict["score"] is None:
                continue
            captured_ns, decided_ns = _wall_ns(verdict["captured_at"]), _wall_ns(verdict["decided_at"])
            is_before_receipt = decided_ns - captured_ns > verdict["latency_ms"] * 1e6 + _CLOCK_ERROR_NS
            is_before_trigger = evidence.is_clock_true and captured_ns < part.asked_ns - _CLOCK_ERROR_NS
            first = judged_by.setdefault((verdict["boot_id"], verdict["frame_seq"]), meas_id)
            if is_before_receipt or is_before_trigger or first != meas_id:
                found.append(meas_id)
    return found


def _wall_ns(text: str) -> int:
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1e6) * 1000


def _growth(usage: Sequence[Usage]) -> list[str]:
    if len(usage) < 2:
        return []
    first, last = usage[0], usage[-1]
    grown = {
        "memory, MB": (first.memory_mb, last.memory_mb, _MOST_GROWTH_MB),
        "threads": (first.threads, last.threads, _MOST_NEW_THREADS),
        "descriptors": (first.descriptors, last.descriptors, _MOST_NEW_DESCRIPTORS),
    }
    return [f"{what}: {a:.0f} to {b:.0f}" for what, (a, b, most) in grown.items() if b - a > most]
