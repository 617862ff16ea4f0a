"""What the agent does when it is told to: reload, resume. Used by the inspection thread, between two parts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from edge_agent.command_intake import RELOAD, RESUME
from edge_agent.live_recipe import LiveRecipe
from edge_agent.messages import Command, encode_reply
from edge_agent.station_state import StationState
from edge_agent.station_watch import StationWatch
from engines.errors import EngineError, PublishError, ThresholdsError
from engines.service_manager import tell_service_manager

log = logging.getLogger(__name__)


class CommandHandler:
    """Does once what was asked, and answers everybody who asked for it.

    Args:
        live: The recipe in force.
        state: Told of what failed.
        watch: Begins anew with new thresholds.
        publish_reply: Publishes a payload on the reply topic; raises PublishError.
    """

    def __init__(
        self,
        live: LiveRecipe,
        state: StationState,
        watch: StationWatch,
        publish_reply: Callable[[bytes], object],
    ) -> None:
        self._live, self._state, self._watch = live, state, watch
        self._publish_reply = publish_reply
        self._known: dict[str, Callable[[], str | None]] = {RELOAD: self._reload, RESUME: self._resume}

    def obey(self, commands: Sequence[Command]) -> None:
        """Obey commands of one name, and reply to each."""
        if not commands:
            return
        do = self._known.get(commands[0].name)
        known = " or ".join(map(repr, self._known))
        problem = do() if do else f"there is no command {commands[0].name!r}. Send {known}."
        for command in commands:
            self.reply(command, problem)

    def refuse(self, command: Command) -> None:
        """Answer a command for which there is no room. For any thread."""
        self.reply(command, "too many commands wait. Send it again when the others are answered.")

    def reply(self, command: Command, problem: str | None) -> None:
        """Say what became of a command. For any thread."""
        try:
            self._publish_reply(encode_reply(command, problem=problem, threshold_rev=self._live.thresholds.name))
        except PublishError as lost:
            log.warning("reply lost command=%s problem=%s", command.name, lost)

    def _resume(self) -> str | None:
        """Inspect again after a person has looked, or return why that cannot be."""
        try:
            self._live.check_test_pieces()
        except EngineError as problem:
            self._state.set_fault("test_piece", problem)
            return str(problem)
        self._state.clear_fault("test_piece")
        self._watch.resume()
        return None

    def _reload(self) -> str | None:
        """Take the thresholds in force now, or keep the old ones and return why."""
        before = self._live.thresholds.name
        tell_service_manager(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            self._live.reload_thresholds()
        except (ThresholdsError, EngineError, OSError) as problem:
            self._state.set_weakness("reload_refused", present=True)
            log.warning("reload refused problem=%s", problem)
            return str(problem)
        finally:
            tell_service_manager("READY=1")
        self._state.set_weakness("reload_refused", present=False)
        self._state.clear_fault("test_piece")
        self._watch.begin_anew()
        log.info("threshold_rev=%s before=%s", self._live.thresholds.name, before)
        return None
