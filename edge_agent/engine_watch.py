"""Whether the engine can still be trusted: test pieces through it now and then, and at once when it has failed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from edge_agent.live_recipe import LiveRecipe
from edge_agent.station_state import StationState
from engines.errors import EngineError, NotRejectedError

EVERY_S = 600.0
AGAIN_S = 2.0
MOST_FAILURES = 3


class EngineWatch:
    """Used by the inspection thread.

    A test piece that is not rejected needs a person. An engine that fails is tried again, and then left to a new process:
    after some errors CUDA never works again in the old one.
    """

    def __init__(self, state: StationState, live: LiveRecipe, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._state, self._live, self._clock = state, live, clock
        self._next_s = 0.0
        self._failures = 0
        self._parts_failed_s: deque[float] = deque(maxlen=MOST_FAILURES)

    def part_failed(self) -> None:
        """Take into account that an inference of a part failed, and let the next look be a test."""
        self._parts_failed_s.append(self._clock())
        self.hurry()

    def hurry(self) -> None:
        """Let the next look be a test: the station comes back from a fault."""
        self._next_s = 0.0

    def look(self) -> None:
        """Run a test piece when one is due, and tell the state.

        Raises:
            EngineError: The engine has failed three test pieces in a row, or three parts within ten minutes.
        """
        now = self._clock()
        if len(self._parts_failed_s) == MOST_FAILURES and now - self._parts_failed_s[0] < EVERY_S:
            raise EngineError(
                f"the engine failed {MOST_FAILURES} parts within {EVERY_S / 60:.0f} minutes.",
                fix="The agent is started anew. If it goes on, run `edge-engines verify` on the recipe.",
            )
        if self._state.has_fault("test_piece") or now < self._next_s:
            return
        self._next_s = now + EVERY_S
        try:
            self._live.run_test_piece()
        except NotRejectedError as problem:
            self._state.set_fault("test_piece", problem)
        except EngineError as problem:
            self._failures += 1
            if self._failures == MOST_FAILURES:
                raise
            self._state.set_fault("engine", problem)
            self._next_s = now + AGAIN_S
            return
        self._failures = 0
        self._state.clear_fault("engine")
