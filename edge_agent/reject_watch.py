"""Too many rejects in a row, or among the last hundred: then a person should look before the night is over."""

from __future__ import annotations

from collections import deque

from edge_agent.inspection import Verdict
from edge_agent.station import AlarmsPart

LAST_PARTS = 100


class RejectWatch:
    """Counts verdicts as they are given.

    Args:
        alarms: What the line bears; whatever it does not say is not watched.
    """

    def __init__(self, alarms: AlarmsPart) -> None:
        self._alarms = alarms
        self.reset()

    def reset(self) -> None:
        """Begin anew: a person has looked."""
        self._in_a_row: dict[Verdict, int] = {"PASS": 0, "FAIL": 0, "INVALID": 0}
        self._none_passed = 0
        self._last: deque[bool] = deque(maxlen=LAST_PARTS)

    def add(self, verdict: Verdict) -> None:
        """Take one verdict into account."""
        self._in_a_row = {kind: count + 1 if kind == verdict else 0 for kind, count in self._in_a_row.items()}
        self._none_passed = 0 if verdict == "PASS" else self._none_passed + 1
        self._last.append(verdict != "PASS")

    def reason_to_halt(self, *, bears_fail: bool = False) -> str | None:
        """Return why the station must stop until a person resumes it; None if it need not.

        FAIL and INVALID in turn are no row of either. Where both are limited, the larger limit holds for both together;
        where only one is, the line has said nothing of the other, which interrupts the row.

        Args:
            bears_fail: No number of FAIL is too many now.
        """
        fail = None if bears_fail else self._alarms.max_consecutive_fail
        invalid = self._alarms.max_consecutive_invalid
        if fail is not None and self._in_a_row["FAIL"] >= fail:
            return "max_consecutive_fail"
        if invalid is not None and self._in_a_row["INVALID"] >= invalid:
            return "max_consecutive_invalid"
        if fail is not None and invalid is not None and self._none_passed >= max(fail, invalid):
            return "max_consecutive_fail" if fail >= invalid else "max_consecutive_invalid"
        return None

    @property
    def rejects_too_many(self) -> bool:
        """Whether more of the last hundred parts were rejected than the line bears."""
        most = self._alarms.max_reject_rate
        return most is not None and len(self._last) == LAST_PARTS and sum(self._last) > most * LAST_PARTS
