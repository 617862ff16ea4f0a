"""Triggers on their way in: journalled before the broker gets its receipt, then queued for the inspection."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from edge_agent.messages import parse_trigger
from edge_agent.outbox import Accepted, Conflict, OpenTrigger, Outbox, Repeat
from engines.errors import OutboxError

log = logging.getLogger(__name__)


class PartIntake:
    """Takes triggers from MQTT's thread and hands parts to the inspection thread.

    Args:
        outbox: The journal.
        wake: Called after a part was queued.
        resend: Called when a stored verdict is due once more.
        refuse: Called with a trigger that could not be journalled; it must be answered INVALID/outbox at once.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        wake: Callable[[], None],
        resend: Callable[[], None],
        refuse: Callable[[OpenTrigger, OutboxError], None],
    ) -> None:
        self._outbox = outbox
        self._wake, self._resend, self._refuse = wake, resend, refuse
        self._parts: deque[tuple[OpenTrigger, str | None]] = deque()

    def take(self, payload: bytes, received_ns: int) -> None:
        """Journal a trigger by "one part, one verdict". For MQTT's thread.

        Raises:
            MessageError: It is malformed; without a readable `meas_id` there is nothing to answer.
        """
        trigger = parse_trigger(payload, received_ns)
        try:
            outcome = self._outbox.accept(trigger)
        except OutboxError as problem:
            log.exception("trigger not journalled meas_id=%s", trigger.meas_id)
            self._refuse(OpenTrigger(0, trigger), problem)
            return
        match outcome:
            case Accepted(trigger_id):
                self._queue(OpenTrigger(trigger_id, trigger), None)
            case Conflict(trigger_id):
                log.warning("trigger conflict meas_id=%s part_id=%s", trigger.meas_id, trigger.part_id)
                self._queue(OpenTrigger(trigger_id, trigger), "id_conflict")
            case Repeat(_, result_id):
                log.info("trigger repeated meas_id=%s result_id=%s", trigger.meas_id, result_id)
                self._resend()

    @property
    def has_parts(self) -> bool:
        """Whether a part waits."""
        return bool(self._parts)

    def next_part(self) -> tuple[OpenTrigger, str | None] | None:
        """Return the oldest waiting part and the reason to refuse it, if any; None when no part waits."""
        return self._parts.popleft() if self._parts else None

    def _queue(self, part: OpenTrigger, reason: str | None) -> None:
        self._parts.append((part, reason))
        self._wake()
