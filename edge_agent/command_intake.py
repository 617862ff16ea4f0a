"""Commands on their way in: from MQTT and from signals to the inspection thread, between two parts."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from edge_agent.messages import Command, parse_command

log = logging.getLogger(__name__)

# Nobody sends so many; more would only be a mistake that repeats itself.
_MOST_WAITING = 16


class CommandIntake:
    """Takes commands in any thread, and in signal handlers, and hands them to the inspection thread.

    Args:
        wake: Called when one has come; safe in a signal handler.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._waiting: deque[Command] = deque(maxlen=_MOST_WAITING)

    def take(self, payload: bytes) -> None:
        """Take a message from the command topic.

        Raises:
            MessageError: It is malformed; there is nobody to reply to.
        """
        command = parse_command(payload)
        log.info("command=%s correlation_id=%s", command.name, command.correlation_id)
        self.put(command)

    def put(self, command: Command) -> None:
        """Take a command."""
        self._waiting.append(command)
        self._wake()

    def next_command(self) -> Command | None:
        """Return the oldest waiting command; None when none waits."""
        return self._waiting.popleft() if self._waiting else None
