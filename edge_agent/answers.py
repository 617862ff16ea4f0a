"""Every part's one verdict on its way into the outbox, also when the outbox or the inspection fails."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from edge_agent.camera.messages import BadFrame, FrameCaptured
from edge_agent.deadline_timer import DeadlineTimer
from edge_agent.inspection import Inspection
from edge_agent.log_limit import ALWAYS
from edge_agent.messages import encode_late
from edge_agent.outbox import Outbox
from edge_agent.outbox_records import OpenTrigger
from edge_agent.pipeline import Judgement
from edge_agent.station_state import StationState
from edge_agent.tally import Tally
from edge_agent.verdict_writer import Stored, UnstoredVerdict, VerdictWriter
from engines.errors import OutboxError, PublishError

log = logging.getLogger(__name__)

_REMEMBERED = 1000


class Answers:
    """Stores verdicts and has them sent; the first one stored for a part counts.

    Args:
        outbox: Where they are kept.
        writer: Makes them.
        state: Told of faults.
        wake_publisher: Called after a verdict was stored.
        publish_unstored: Publishes a payload on the verdict topic at once; raises PublishError.
        publish_late: Publishes under the part's result id, for people; raises PublishError.
    """

    def __init__(
        self,
        outbox: Outbox,
        writer: VerdictWriter,
        state: StationState,
        *,
        wake_publisher: Callable[[], None],
        publish_unstored: Callable[[bytes], None],
        publish_late: Callable[[str, bytes], None],
    ) -> None:
        self._outbox, self._writer, self._state = outbox, writer, state
        self._wake_publisher, self._publish_unstored = wake_publisher, publish_unstored
        self._publish_late = publish_late
        # A part that was answered without the outbox, or by it, is never answered in the other way.
        self._lock = threading.Lock()
        self._unstored: dict[int, UnstoredVerdict] = {}
        self._stored: deque[int] = deque(maxlen=_REMEMBERED)
        self.tally = Tally()
        self.timer = DeadlineTimer(lambda part: self.finish(Judgement(reason="deadline"), None, part))

    def finish(
        self, judgement: Judgement, event: FrameCaptured | BadFrame | None, part: OpenTrigger | None
    ) -> Stored | None:
        """Store a verdict and have it sent; for any thread.

        Returns:
            What was stored, or came too late for that; None if the part is answered INVALID/outbox.
        """
        try:
            with self._lock:
                if part is not None and part.trigger_id in self._unstored:
                    return None
                stored = self._writer.write(judgement, event, part)
                # A part whose journal failed is late, too, and has no verdict yet.
                if part is not None and not stored.is_late:
                    self._stored.append(part.trigger_id)
        except OutboxError as problem:
            self._state.set_fault("outbox", problem)
            if part is not None:
                self.outbox_failed(part, problem)
            return None
        except Exception:
            if judgement.reason == "internal_error":
                raise
            log.exception("the verdict could not be written")
            return self.finish(Judgement(reason="internal_error"), event, part)
        if part is not None:
            self.timer.forget(part)
        if not stored.is_late:
            self._wake_publisher()
            self.tally.add(stored.inspection)
        elif part is not None and judgement.decision is not None:
            self._tell_late(stored, part)
        self.tally.add_stages(judgement.stage_ns)
        _log(stored.inspection, judgement, is_late=stored.is_late)
        return stored

    def _tell_late(self, stored: Stored, part: OpenTrigger) -> None:
        with suppress(OutboxError, PublishError):
            result_id = self._outbox.result_id_of(part.trigger_id)
            if result_id is not None:
                self._publish_late(result_id, encode_late(stored.payload, result_id))

    def outbox_failed(self, part: OpenTrigger, problem: OutboxError) -> None:
        """Tell the PLC at once; once the outbox works again the same verdict is stored. For any thread."""
        self._state.set_fault("outbox", problem)
        self.timer.forget(part)
        with self._lock:
            if part.trigger_id in self._stored:
                return
            verdict = self._unstored.get(part.trigger_id)
            if verdict is None:
                verdict = self._writer.unstored("outbox", part)
                self.tally.add(verdict.inspection)
                _log(verdict.inspection, Judgement(), is_late=False)
            if part.trigger_id:
                self._unstored[part.trigger_id] = verdict
        try:
            self._publish_unstored(verdict.payload)
        except PublishError:
            log.warning("verdict sent later seq=%d meas_id=%s", verdict.inspection.seq, part.trigger.meas_id)

    def refuse_open_parts(self, reason: str) -> None:
        """Give every part that still has no verdict this one; what was answered without the outbox is stored first."""
        if self._unstored:
            self.outbox_works_again()
        try:
            parts = self._outbox.open_triggers()
        except OutboxError as problem:
            self._state.set_fault("outbox", problem)
            return
        for part in parts:
            self.finish(Judgement(reason=reason), None, part)

    def recover(self) -> bool:
        """End the outbox' fault once it works and holds what was answered without it; return whether that was now."""
        # Another thread's fault may have been taken for the one that had just passed, and cleared.
        if not (self._state.has_fault("outbox") or self._unstored) or not self.outbox_works_again():
            return False
        self._state.clear_fault("outbox")
        return True

    def outbox_works_again(self) -> bool:
        """Return whether the outbox can be written, after what was answered without it is in it."""
        try:
            for trigger_id, verdict in list(self._unstored.items()):
                self._writer.store_later(verdict)
                self._stored.append(trigger_id)
                del self._unstored[trigger_id]
            self._outbox.probe()
        except OutboxError:
            return False
        self._wake_publisher()
        return True


def _log(inspection: Inspection, judgement: Judgement, *, is_late: bool) -> None:
    """Log a verdict; of parts that pass, many a second, not all are written."""
    facts: dict[str, object] = {
        "verdict": inspection.verdict,
        "reasons": ",".join(inspection.reasons) or "-",
        "seq": inspection.seq,
        "meas_id": inspection.trigger.meas_id if inspection.trigger else "-",
        "score": "-" if inspection.score is None else f"{inspection.score:.3f}",
        "latency_ms": f"{inspection.latency_ms:.1f}",
        **{f"{stage}_ms": f"{duration_ns / 1e6:.3f}" for stage, duration_ns in judgement.stage_ns.items()},
    }
    if judgement.message:
        facts["problem"] = judgement.message
    template = " ".join([*["late"] * is_late, *(f"{key}=%s" for key in facts)])
    is_ordinary = inspection.verdict == "PASS" and not is_late
    log.log(
        logging.WARNING if inspection.verdict == "INVALID" or is_late else logging.INFO,
        template,
        *facts.values(),
        extra=None if is_ordinary else ALWAYS,
    )
