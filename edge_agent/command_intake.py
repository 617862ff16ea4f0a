"""Commands on their way in: from MQTT and from signals to the inspection thread, between two parts."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable

from edge_agent.messages import Command, parse_command

log = logging.getLogger(__name__)

RELOAD, RESUME, PAUSE = "reload", "resume", "pause"
RECALIBRATE, SELECT_RECIPE = "recalibrate", "select_recipe"
# Nobody sends so many; more would only be a mistake that repeats itself.
MOST_WAITING = 16
LONGEST_WAIT_S = 0.5


class CommandIntake:
    """Takes commands in any thread, and hands them to the inspection thread.

    Args:
        wake: Called when one has come; safe in a signal handler.
        refuse: Called with a command for which there is no room; it must be answered at once.
    """

    def __init__(self, wake: Callable[[], None], refuse: Callable[[Command], None]) -> None:
        self._wake, self._refuse = wake, refuse
        self._waiting: deque[Command] = deque()
        self._hung_up = False
        self._since_s = math.inf

    def take(self, payload: bytes) -> None:
        """Take a message from the command topic.

        Raises:
            MessageError: It is malformed; there is nobody to reply to.
        """
        command = parse_command(payload)
        log.info("command=%s correlation_id=%s", command.name, command.correlation_id)
        if len(self._waiting) >= MOST_WAITING:
            self._refuse(command)
            return
        self._waiting.append(command)
        self._since_s = min(self._since_s, time.monotonic())
        self._wake()

    def hang_up(self) -> None:
        """Take SIGHUP: `reload` without a reply. Safe in a signal handler."""
        self._hung_up = True
        self._since_s = min(self._since_s, time.monotonic())
        self._wake()

    @property
    def is_overdue(self) -> bool:
        """Whether a command has waited so long that it comes before the parts that wait."""
        return time.monotonic() - self._since_s > LONGEST_WAIT_S

    def next_commands(self) -> list[Command]:
        """Return the oldest waiting command; with a `reload`, all of them that wait: one run answers them all."""
        self._since_s = math.inf
        found = self._oldest()
        if self._waiting:
            self._since_s = time.monotonic()
        return found

    def _oldest(self) -> list[Command]:
        if self._hung_up or (self._waiting and self._waiting[0].name == RELOAD):
            self._hung_up = False
            found = [command for command in list(self._waiting) if command.name == RELOAD]
            for command in found:
                self._waiting.remove(command)
            return found or [Command(RELOAD, None)]
        return [self._waiting.popleft()] if self._waiting else []
