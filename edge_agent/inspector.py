"""From a part that waits to its one verdict, and what else is made of its frame once that is on its way."""

from __future__ import annotations

import time
from queue import SimpleQueue

from edge_agent.answers import Answers
from edge_agent.camera.messages import BadFrame, FrameCaptured
from edge_agent.capture import Capture
from edge_agent.engine_watch import EngineWatch
from edge_agent.frame_keeper import FrameKeeper
from edge_agent.freshness import deadline_ns, too_late
from edge_agent.outbox_records import OpenTrigger
from edge_agent.pipeline import Judgement, Pipeline
from edge_agent.station import TriggerPart
from edge_agent.station_state import StationState
from edge_agent.station_watch import StationWatch

# Answers to a trigger that should not have come; all other INVALID parts go into the reject bin for the station's sake.
_NOT_A_REJECT = {"not_ready", "wrong_recipe", "id_conflict", "bad_trigger"}
_TYPICAL_OF_PARTS = 5


class Inspector:
    """Used by the inspection thread, but for `has_time` and `refuse_overload`.

    Args:
        limits: How long a part can wait.
        capture: Finds the frame that shows a part.
        pipeline: Judges it.
        answers: Takes every part's verdict.
        state: Says whether parts are inspected now.
        engine_watch: Told when the engine has failed.
        watch: Sees every verdict that counts for the alarms.
        keeper: Sees every frame that its slot still holds.
    """

    def __init__(
        self,
        limits: TriggerPart,
        capture: Capture,
        pipeline: Pipeline,
        answers: Answers,
        state: StationState,
        engine_watch: EngineWatch,
        watch: StationWatch,
        keeper: FrameKeeper,
    ) -> None:
        self._limits, self._capture, self._pipeline, self._answers = limits, capture, pipeline, answers
        self._state, self._engine_watch, self._watch, self._keeper = state, engine_watch, watch, keeper
        self._typical_ns = 0.0
        self._overloads: SimpleQueue[OpenTrigger] = SimpleQueue()

    def inspect(self, part: OpenTrigger, refused: str | None) -> None:
        """Give a part its one verdict, INVALID if it is refused already or has to be now."""
        if reason := refused or self._reason_to_refuse(part):
            self._finish(Judgement(reason=reason), None, part, is_counted=reason not in _NOT_A_REJECT)
        else:
            began_ns = self._busy_ns()
            self._look_at(part)
            self._typical_ns += (self._busy_ns() - began_ns - self._typical_ns) / _TYPICAL_OF_PARTS
        self._capture.done(part)

    def inspect_frame(self, event: FrameCaptured | BadFrame) -> None:
        """Give a verdict on a frame that no trigger asked for."""
        self._finish(self._pipeline.judge(event), event, None)

    def has_time(self, part: OpenTrigger, waiting: int) -> bool:
        """Whether a part would have its verdict in time behind so many others; for MQTT's thread."""
        # Besides those that wait, the one in hand and the part itself.
        return time.monotonic_ns() + (waiting + 2) * self._typical_ns <= deadline_ns(part.trigger, self._limits)

    def refuse_overload(self, part: OpenTrigger) -> None:
        """Answer at once a part for which there is no time; in MQTT's thread."""
        self._answers.finish(Judgement(reason="overload"), None, part)
        self._overloads.put(part)

    def count_overloads(self) -> None:
        """Let the parts that were refused in MQTT's thread count for the alarms."""
        while not self._overloads.empty():
            self._overloads.get()
            self._watch.add("INVALID", None, None)

    def _busy_ns(self) -> int:
        """Return a clock that stands still while parts wait for their frames side by side."""
        return time.monotonic_ns() - self._capture.overlapping_wait_ns

    def _reason_to_refuse(self, part: OpenTrigger) -> str | None:
        if part.trigger.recipe is not None and part.trigger.recipe != self._pipeline.live.recipe.name:
            return "wrong_recipe"
        if late := too_late(part.trigger, self._limits, time.monotonic_ns()):
            return late
        return None if self._state.name == "ready" else "not_ready"

    def _look_at(self, part: OpenTrigger) -> None:
        event = self._capture.frame_for(part)
        judgement = self._pipeline.judge(event) if event else Judgement(reason="no_frame")
        if unfit := self._capture.unfit(event, part):
            judgement = Judgement(reason=unfit, stage_ns=judgement.stage_ns)
        elif time.monotonic_ns() > deadline_ns(part.trigger, self._limits):
            # The first verdict counts; what was found is only a late result behind it.
            self._answers.finish(Judgement(reason="deadline"), None, part)
        self._finish(judgement, event, part)

    def _finish(
        self,
        judgement: Judgement,
        event: FrameCaptured | BadFrame | None,
        part: OpenTrigger | None,
        *,
        is_counted: bool = True,
    ) -> None:
        """Answer first; then look at what was seen, while the slot still holds it."""
        stored = self._answers.finish(judgement, event, part)
        if judgement.reason == "engine_error":
            self._engine_watch.part_failed()
        frame = self._pipeline.frame_of(event) if isinstance(event, FrameCaptured) else None
        if is_counted:
            verdict = "INVALID" if stored is None or stored.is_late else stored.inspection.verdict
            self._watch.add(verdict, judgement.decision, frame)
        if stored is not None and frame is not None:
            self._keeper.keep(stored, judgement, frame)
