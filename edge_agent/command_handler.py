"""What the agent does when it is told to. Used by the inspection thread, between two parts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from edge_agent.audit_log import Answer, AuditLog, Outcome
from edge_agent.command_intake import PAUSE, RECALIBRATE, RELOAD, RESUME, SELECT_RECIPE
from edge_agent.frame_keeper import FrameKeeper
from edge_agent.live_recipe import LiveRecipe
from edge_agent.messages import Command, encode_reply
from edge_agent.recipe_switch import Prepared, RecipeSwitch
from edge_agent.station_state import StationState
from edge_agent.station_watch import StationWatch
from engines.errors import AgentError, EngineError, NotRejectedError, PublishError, StorageError, ThresholdsError
from engines.service_manager import tell_service_manager

log = logging.getLogger(__name__)


class CommandHandler:
    """Does once what was asked, and answers everybody who asked for it.

    Args:
        live: The recipe in force.
        state: Told of what failed.
        watch: Begins anew with new thresholds.
        keeper: Collects frames for new thresholds.
        switch: Prepares other recipes.
        audit: Gets a line for each command, and knows what was answered before.
        publish_reply: Publishes a payload on the reply topic; raises PublishError.
    """

    def __init__(
        self,
        live: LiveRecipe,
        state: StationState,
        watch: StationWatch,
        keeper: FrameKeeper,
        switch: RecipeSwitch,
        audit: AuditLog,
        publish_reply: Callable[[bytes], object],
    ) -> None:
        self._live, self._state, self._watch, self._keeper = live, state, watch, keeper
        self._switch, self._selecting = switch, Command(SELECT_RECIPE, None)
        self._audit, self._publish_reply = audit, publish_reply
        self._known: dict[str, Callable[[Command], str | None]] = {
            RELOAD: lambda _: self._reload(),
            RESUME: lambda _: self._resume(),
            PAUSE: lambda _: self._pause(),
            RECALIBRATE: self._recalibrate,
            SELECT_RECIPE: self._refuse_selection,
        }

    def obey(self, commands: Sequence[Command]) -> None:
        """Obey commands of one name, and reply to each; one that was answered before only gets its answer again."""
        new = [command for command in commands if not self._answer_again(command)]
        if not new or (new[0].name == SELECT_RECIPE and self._select(new[0])):
            return
        do = self._known.get(new[0].name)
        known = ", ".join(map(repr, self._known))
        problem = do(new[0]) if do else f"there is no command {new[0].name!r}. Send {known}."
        for command in new:
            self._reply(command, "failed" if problem else "done", self._answer(problem))
        self._state.set_weakness("audit_log", present=self._audit.error is not None)

    def end_selection(self) -> None:
        """Switch to a recipe that has been prepared, between two parts, and reply."""
        prepared = self._switch.take()
        if prepared is None:
            return
        problem = prepared.problem or self._take_over(prepared)
        self._reply(self._selecting, "failed" if problem else "done", self._answer(problem))

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
        except NotRejectedError as problem:
            self._state.set_fault("test_piece", problem)
            return str(problem)
        except EngineError as problem:
            return str(problem)
        self._state.clear_fault("test_piece")
        self._watch.resume()
        return None

    def _pause(self) -> str | None:
        """Inspect nothing until `resume`."""
        self._watch.halt("paused")
        return None

    def _select(self, command: Command) -> bool:
        """Begin to prepare another recipe; False if the command must be answered at once."""
        if command.recipe is None or self._switch.is_busy:
            return False
        self._selecting = command
        self._switch.prepare(command.recipe)
        return True

    def _refuse_selection(self, command: Command) -> str:
        if command.recipe is None:
            return "'select_recipe' needs to know which. Send \"recipe\"."
        return f"recipe {self._selecting.recipe} is being prepared. Wait for its reply, then send this again."

    def _take_over(self, prepared: Prepared) -> str | None:
        live = prepared.live
        if live is None:
            return "there is no recipe"
        before = self._live.recipe.name
        try:
            with self._switch.remembering(prepared.name):
                self._live.become(live)
        except (AgentError, OSError) as problem:
            live.close()
            log.warning("recipe refused recipe=%s problem=%s", prepared.name, problem)
            return str(problem)
        self._state.clear_fault("test_piece")
        self._state.set_weakness("reload_refused", present=False)
        self._keeper.end_collection("select_recipe")
        self._watch.begin_anew()
        log.info("recipe=%s before=%s", self._live.recipe.name, before)
        return None

    def _recalibrate(self, command: Command) -> str | None:
        """Collect frames for new thresholds while the old ones go on, or return why that cannot be."""
        if command.frames is None:
            return "'recalibrate' needs to know how many frames. Send \"frames\", for example 200."
        if not self._state.is_inspecting:
            return self._why_nothing_would_come()
        return self._keeper.begin_collection(command.frames)

    def _why_nothing_would_come(self) -> str:
        fix = (
            "Send 'resume' or 'reload', then this again before the next parts come: while frames are collected, FAIL "
            "does not halt."
            if self._state.name == "halted"
            else "Mend that, then send this again."
        )
        why = next(iter(self._state.reasons()), "")
        return f"no part is inspected: the state is {self._state.name} ({why}), and no frame would come. {fix}"

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
