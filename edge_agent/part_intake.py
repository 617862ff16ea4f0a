"""Triggers on their way in: journalled before the broker gets its receipt, then queued for the inspection."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from edge_agent.capture import Capture
from edge_agent.inspection import Trigger
from edge_agent.messages import BadTriggerError, parse_trigger
from edge_agent.outbox import Outbox
from edge_agent.outbox_records import Accepted, Conflict, OpenTrigger, Repeat
from engines.errors import MessageError, OutboxError

log = logging.getLogger(__name__)

MOST_WAITING = 256


class PartIntake:
    """Takes triggers from MQTT's thread and hands parts to the inspection thread.

    Args:
        outbox: The journal.
        capture: Told of every trigger, whatever becomes of it.
        begun: Called with a new part after it was queued.
        resend: Called when a stored verdict is due once more.
        refuse: Called with a trigger that could not be journalled; it must be answered INVALID/outbox at once.
        has_time: Whether a new part can be inspected in time, when so many wait before it.
        overload: Called with a part that cannot; it must be answered INVALID/overload at once.
    """

    def __init__(
        self,
        outbox: Outbox,
        capture: Capture,
        *,
        begun: Callable[[OpenTrigger], None],
        resend: Callable[[], None],
        refuse: Callable[[OpenTrigger, OutboxError], None],
        has_time: Callable[[OpenTrigger, int], bool],
        overload: Callable[[OpenTrigger], None],
    ) -> None:
        self._outbox, self._capture, self._has_time, self._overload = outbox, capture, has_time, overload
        self._begun, self._resend, self._refuse = begun, resend, refuse
        self._parts: deque[tuple[OpenTrigger, str | None]] = deque()
        self._new: OpenTrigger | None = None
        self._surplus: OpenTrigger | None = None

    def take(self, payload: bytes, received_ns: int, waited_ns: int = 0) -> None:
        """Journal a trigger by "one part, one verdict"; a bad one too, to be refused. For MQTT's thread.

        Raises:
            MessageError: It is malformed; without a readable `meas_id` there is nothing to answer.
        """
        # What a trigger says counts only after that it came.
        self._capture.expect(received_ns)
        try:
            self._take(payload, received_ns, waited_ns)
        except MessageError:
            self._capture.refused(received_ns)
            raise

    def _take(self, payload: bytes, received_ns: int, waited_ns: int) -> None:
        reason = None
        try:
            trigger = parse_trigger(payload, received_ns)
        except BadTriggerError as problem:
            log.warning("trigger refused meas_id=%s error=%s", problem.trigger.meas_id, problem)
            trigger, reason = problem.trigger, "bad_trigger"
        trigger = replace(trigger, waited_ns=waited_ns)
        self._new = self._surplus = None
        try:
            answer = self._outbox.accept(trigger, begin=lambda answer: self._begin(trigger, answer, reason))
        except OutboxError as problem:
            log.exception("trigger not journalled meas_id=%s", trigger.meas_id)
            self._capture.refused(received_ns)
            # What the inspection may have begun with gets one answer under its number.
            self._refuse(self._new or OpenTrigger(0, trigger), problem)
            return
        if isinstance(answer, Repeat):
            log.info("trigger repeated meas_id=%s result_id=%s", trigger.meas_id, answer.result_id)
            self._capture.forget(received_ns)
            self._resend()
        elif self._surplus is not None:
            self._capture.refused(received_ns)
            self._overload(self._surplus)

    def _begin(self, trigger: Trigger, answer: Accepted | Conflict, reason: str | None) -> None:
        """Hand a new part to the inspection while the journal is still on its way to the disk."""
        if reason is None and isinstance(answer, Conflict):
            reason = "id_conflict"
        self._new = part = OpenTrigger(answer.trigger_id, trigger)
        waiting = len(self._parts)
        if waiting >= MOST_WAITING or (waiting and not self._has_time(part, waiting)):
            self._surplus = part
            return
        self._parts.append((part, reason))
        self._begun(part)

    @property
    def has_parts(self) -> bool:
        """Whether a part waits."""
        return bool(self._parts)

    def next_part(self) -> tuple[OpenTrigger, str | None] | None:
        """Return the oldest waiting part and the reason to refuse it, if any; None when no part waits."""
        return self._parts.popleft() if self._parts else None
