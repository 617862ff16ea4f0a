"""What state the station is in, and why: worked out from its faults and from what it waits for."""

from __future__ import annotations

import logging

from edge_agent import __version__
from edge_agent.live_recipe import LiveRecipe
from edge_agent.messages import State, encode_state
from edge_agent.station import Station
from engines.errors import AgentError

log = logging.getLogger(__name__)


class StationState:
    """Faults make the state `error`; what is waited for keeps it `initialized`; else the station inspects.

    Any thread may read it and call `set_fault`; everything else is for the inspection thread.
    """

    def __init__(self, station: Station, live: LiveRecipe, boot_id: str) -> None:
        self._boot_id = boot_id
        self._inspecting: State = "executing" if station.camera.mode == "free_run" else "ready"
        self._weaknesses = ["ack_broker"] if station.mqtt.ack == "broker" else []
        self._live = live
        self._faults: dict[str, str] = {}
        self.halted: str | None = None
        self._logged = ""
        self.waiting_for: str | None = "camera_opening"

    @property
    def name(self) -> State:
        """The state as the PLC sees it."""
        if self._faults:
            return "error"
        if self.halted:
            return "halted"
        return "initialized" if self.waiting_for else self._inspecting

    @property
    def is_inspecting(self) -> bool:
        """Whether a part would be inspected now."""
        return self.name == self._inspecting

    def has_fault(self, reason: str) -> bool:
        """Return whether this fault is present."""
        return reason in self._faults

    def set_fault(self, reason: str, problem: AgentError) -> None:
        """Remember a fault until it is cleared; it is logged when it is new."""
        if self._faults.get(reason) != str(problem):
            log.error("fault=%s problem=%s", reason, problem)
        self._faults[reason] = str(problem)

    def clear_fault(self, reason: str) -> None:
        """Forget a fault that has passed."""
        self._faults.pop(reason, None)

    def set_weakness(self, reason: str, *, present: bool) -> None:
        """Remember, or forget, that a person should look, though parts are inspected."""
        if present and reason not in self._weaknesses:
            self._weaknesses.append(reason)
        elif not present and reason in self._weaknesses:
            self._weaknesses.remove(reason)

    def reasons(self) -> list[str]:
        """Return why the state is what it is, and what a person should look at."""
        reasons = list(self._faults) or [reason for reason in (self.halted or self.waiting_for,) if reason]
        return reasons + self._weaknesses

    def message(self) -> bytes:
        """Return the retained message of the `state` topic; a change is logged."""
        reasons = self.reasons()
        shown = f"state={self.name} reasons={','.join(reasons) or '-'}"
        if shown != self._logged:
            self._logged = shown
            log.info(shown)
        live = self._live
        return encode_state(
            self.name,
            self._boot_id,
            degraded=bool(self._weaknesses),
            reasons=reasons,
            version=__version__,
            recipe=live.recipe.name,
            recipe_revision=live.recipe.revision,
            model_sha256=live.runtime.model_sha256[:12],
            threshold_rev=live.thresholds.name,
        )
