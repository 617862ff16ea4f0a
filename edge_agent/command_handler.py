"""What the agent does when it is told to: reload, resume, recalibrate. Used by the inspection thread, between two parts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from edge_agent.audit_log import Answer, AuditLog, Outcome
from edge_agent.command_intake import RECALIBRATE, RELOAD, RESUME
from edge_agent.frame_keeper import FrameKeeper
from edge_agent.live_recipe import LiveRecipe
from edge_agent.messages import Command, encode_reply
from edge_agent.station_state import StationState
from edge_agent.station_watch import StationWatch
from engines.errors import EngineError, PublishError, StorageError, ThresholdsError
from engines.service_manager import tell_service_manager

log = logging.getLogger(__name__)


class CommandHandler:
    """Does once what was asked, and answers everybody who asked for it.

    Args:
        live: The recipe in force.
        state: Told of what failed.
        watch: Begins anew with new thresholds.
        keeper: Collects frames for new thresholds.
        audit: Gets a line for each command, and knows what was answered before.
        publish_reply: Publishes a payload on the reply topic; raises PublishError.
    """

    def __init__(
        self,
        live: LiveRecipe,
        state: StationState,
        watch: StationWatch,
        keeper: FrameKeeper,
        audit: AuditLog,
        publish_reply: Callable[[bytes], object],
    ) -> None:
        self._live, self._state, self._watch, self._keeper = live, state, watch, keeper
        self._audit, self._publish_reply = audit, publish_reply
        self._known: dict[str, Callable[[Command], str | None]] = {
            RELOAD: lambda _: self._reload(),
            RESUME: lambda _: self._resume(),
            RECALIBRATE: self._recalibrate,
        }

    def obey(self, commands: Sequence[Command]) -> None:
        """Obey commands of one name, and reply to each; one that was answered before only gets its answer again."""
        new = [command for command in commands if not self._answer_again(command)]
        if not new:
            return
        do = self._known.get(new[0].name)
        known = ", ".join(map(repr, self._known))
        problem = do(new[0]) if do else f"there is no command {new[0].name!r}. Send {known}."
        for command in new:
            self._reply(command, "failed" if problem else "done", self._answer(problem))
        self._state.set_weakness("audit_log", present=self._audit.error is not None)

    def refuse(self, command: Command) -> None:
        """Answer a command for which there is no room. For any thread."""
        answer = self._answer("too many commands wait. Send it again when the others are answered.")
        self._reply(command, "refused", answer)

    def _answer_again(self, command: Command) -> bool:
        answer = self._audit.answer_to(command)
        if answer is not None:
            log.warning("repeated command=%s correlation_id=%s", command.name, command.correlation_id)
            self._reply(command, "repeated", answer)
        return answer is not None

    def _answer(self, problem: str | None) -> Answer:
        return Answer(problem, self._live.thresholds.name)

    def _reply(self, command: Command, outcome: Outcome, answer: Answer) -> None:
        """Note what became of a command, and say it."""
        try:
            self._audit.add(command, outcome, answer)
        except StorageError as problem:
            log.error("command=%s outcome=%s is not in the audit log: %s", command.name, outcome, problem)  # noqa: TRY400
        try:
            self._publish_reply(encode_reply(command, problem=answer.problem, threshold_rev=answer.threshold_rev))
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

    def _recalibrate(self, command: Command) -> str | None:
        """Collect frames for new thresholds while the old ones go on, or return why that cannot be."""
        if command.frames is None:
            return "'recalibrate' needs to know how many frames. Send \"frames\", for example 200."
        return self._keeper.begin_collection(command.frames)

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
        self._keeper.end_collection("reload")
        self._watch.begin_anew()
        log.info("threshold_rev=%s before=%s", self._live.thresholds.name, before)
        return None
