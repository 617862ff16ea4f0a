"""What a person should know before the night is over: good parts that have changed, and too many rejects."""

from __future__ import annotations

import logging

from edge_agent.decision import Decision
from edge_agent.drift import FIGURES, DriftWatch, figures_of
from edge_agent.frame_keeper import FrameKeeper
from edge_agent.inspection import Verdict
from edge_agent.live_recipe import LiveRecipe
from edge_agent.reject_watch import RejectWatch
from edge_agent.station import AlarmsPart
from edge_agent.station_state import StationState
from edge_agent.thresholds import Figure
from engines.images import Frame

log = logging.getLogger(__name__)


class StationWatch:
    """Looks at every verdict after it is on its way, and tells the state; used by the inspection thread.

    While frames are collected for new thresholds, FAIL halts nothing: the person who asked for them knows, and without
    frames of today's good parts, all rejected, there would be no new thresholds.
    """

    def __init__(self, state: StationState, live: LiveRecipe, keeper: FrameKeeper, alarms: AlarmsPart) -> None:
        self._state, self._live, self._keeper = state, live, keeper
        self._rejects = RejectWatch(alarms)
        self._drift = DriftWatch(live.thresholds.calibration.usual)

    def add(self, verdict: Verdict, decision: Decision | None, frame: Frame | None) -> None:
        """Take a verdict into account, and its frame if there is one: all valid ones, rejected or not, late or not."""
        if decision is not None and frame is not None:
            self._drift.add(figures_of(frame, decision.score))
        self._state.set_weakness("drift_unwatched", present=not self._drift.watches)
        drifting = [*self._drift.drifting()]
        for figure in FIGURES:
            self._state.set_weakness(f"drift_{figure}", present=figure in drifting)
        self._rejects.add(verdict)
        self._state.set_weakness("reject_rate", present=self._rejects.rejects_too_many)
        reason = self._rejects.reason_to_halt(bears_fail=self._keeper.is_collecting)
        if self._state.halted is None and reason:
            self.halt(reason)
            log.error("halted=%s fix=%s", reason, "When a person has looked: send `resume` or `reload`.")

    def drift(self) -> dict[Figure, float]:
        """Return how near each figure is to being called drifting, 1 the limit. For any thread."""
        return self._drift.nearness()

    def halt(self, reason: str) -> None:
        """Inspect nothing until `resume`; a collection ends, because no frame would come."""
        self._state.halted = reason
        self._keeper.end_collection(reason)

    def resume(self) -> None:
        """Inspect again after a person has looked."""
        if self._state.halted:
            log.info("resumed after=%s", self._state.halted)
        self._state.halted = None
        self._rejects.reset()

    def begin_anew(self) -> None:
        """Compare with the thresholds that are in force now, and resume."""
        self._drift = DriftWatch(self._live.thresholds.calibration.usual)
        self.resume()
