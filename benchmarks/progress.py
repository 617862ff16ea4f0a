"""How a long measurement says how far it is, and how it ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from engines.errors import AgentError

# Reading, three quantisations and evaluations, in minutes, before the first row has shown how long they take.
_BESIDES_TRAINING_MINUTES = 5.0


class Pace:
    """How long the rows that are left will take, by those that were made.

    Args:
        minutes: What each is expected to train; None where nobody knows.
    """

    def __init__(self, minutes: float | None) -> None:
        self._expected_s = None if minutes is None else (minutes + _BESIDES_TRAINING_MINUTES) * 60
        self._taken_s: list[float] = []

    def add(self, seconds: float) -> None:
        """Take a row into account."""
        self._taken_s.append(seconds)

    def left(self, rows: int) -> str:
        """Say how long so many rows will take."""
        each_s = sum(self._taken_s) / len(self._taken_s) if self._taken_s else self._expected_s
        if each_s is None:
            return "how long it takes is not known yet"
        minutes = each_s * rows / 60
        return f"about {minutes:.0f} min left" if minutes < 120 else f"about {minutes / 60:.1f} h left"


def run_program(main: Callable[[], int]) -> int:
    """Run a benchmark that can be interrupted and continued; returns its exit code."""
    # A service manager's or a shell's stop is the same as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return main()
    except AgentError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
