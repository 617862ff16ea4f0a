"""From a judgement to a stored verdict: the record, the message, and one transaction in the outbox."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone

from edge_agent.camera.messages import BadFrame, FrameCaptured
from edge_agent.clock import clock_is_synced
from edge_agent.ids import new_boot_id, uuid7
from edge_agent.inspection import Inspection, Verdict
from edge_agent.live_recipe import LiveRecipe
from edge_agent.masks import EncodedMask, encode_mask
from edge_agent.messages import encode_verdict
from edge_agent.outbox import Outbox
from edge_agent.outbox_records import OpenTrigger
from edge_agent.pipeline import Judgement
from edge_agent.station import Station
from edge_agent.topics import Topics


@dataclass(frozen=True)
class Stored:
    """A verdict in the outbox; `is_late` says that its part already had one, so this one was not stored."""

    inspection: Inspection
    mask: EncodedMask | None
    payload: bytes
    is_late: bool


@dataclass(frozen=True)
class UnstoredVerdict:
    """A verdict that was sent while the outbox could not be written."""

    inspection: Inspection
    payload: bytes
    trigger_id: int


class VerdictWriter:
    """Writes every verdict of one start of the agent; used by the inspection thread and the deadline timer."""

    def __init__(self, outbox: Outbox, live: LiveRecipe, station: Station, *, is_simulated: bool) -> None:
        self.boot_id = new_boot_id()
        self.is_simulated = is_simulated
        self.topics = Topics(station.mqtt.topic_prefix, station.site, station.station)
        self._outbox = outbox
        self._live = live
        self._station = station

    def write(
        self, judgement: Judgement, event: FrameCaptured | BadFrame | None, part: OpenTrigger | None = None
    ) -> Stored:
        """Store the verdict on a frame, or on the lack of one.

        Args:
            judgement: A decision, or the reason why the verdict is INVALID.
            event: The frame, None if there was none.
            part: The part that it is about; None in free run.

        Raises:
            OutboxError: Nothing was stored.
        """
        began = time.monotonic_ns()
        inspection = self._inspection(judgement, event, part, began)
        mask = None
        if judgement.decision is not None:
            mask = encode_mask(judgement.decision.defect_mask, self._live.recipe.roi_size_wh)
        message = encode_verdict(inspection, mask, self.topics)
        stored = self._outbox.store(
            seq=inspection.seq,
            result_id=inspection.result_id,
            boot_id=self.boot_id,
            payload=message.payload,
            mask_png=message.mask_png,
            trigger_id=part.trigger_id if part else None,
        )
        judgement.stage_ns["enqueue"] = time.monotonic_ns() - began
        return Stored(inspection, mask, message.payload, is_late=not stored)

    def unstored(self, reason: str, part: OpenTrigger) -> UnstoredVerdict:
        """Make an INVALID verdict for a part that the outbox cannot take now; for any thread."""
        inspection = self._inspection(Judgement(reason=reason), None, part, time.monotonic_ns())
        payload = encode_verdict(inspection, None, self.topics).payload
        return UnstoredVerdict(inspection, payload, part.trigger_id)

    def store_later(self, verdict: UnstoredVerdict) -> None:
        """Store a verdict that was sent without having been stored, under the id that the PLC knows.

        Raises:
            OutboxError: Nothing was stored.
        """
        self._outbox.store(
            seq=verdict.inspection.seq,
            result_id=verdict.inspection.result_id,
            boot_id=self.boot_id,
            payload=verdict.payload,
            trigger_id=verdict.trigger_id,
        )

    def _inspection(
        self,
        judgement: Judgement,
        event: FrameCaptured | BadFrame | None,
        part: OpenTrigger | None,
        now_ns: int,
    ) -> Inspection:
        decision, thresholds = judgement.decision, self._live.thresholds
        captured_ns = event.captured_ns if isinstance(event, FrameCaptured) else None
        trigger = part.trigger if part else None
        began_ns = trigger.received_ns if trigger else captured_ns
        verdict: Verdict = decision.verdict if decision else "INVALID"
        # Read once, the wall clock last: a thread held up between two readings must not make a frame seem older than it is.
        wall_ahead_ns = -time.monotonic_ns() + time.time_ns()
        return Inspection(
            result_id=uuid7(),
            seq=self._outbox.next_seq(),
            boot_id=self.boot_id,
            station=self._station.station,
            recipe=self._live.recipe.name,
            model_sha256=self._live.runtime.model_sha256,
            threshold_rev=thresholds.name,
            verdict=verdict,
            reasons=() if judgement.reason is None else (judgement.reason,),
            captured_at=None if captured_ns is None else _rfc3339(captured_ns + wall_ahead_ns),
            decided_at=_rfc3339(now_ns + wall_ahead_ns),
            latency_ms=max(0, now_ns - began_ns) / 1e6 if began_ns is not None else 0.0,
            trigger=trigger,
            deadline_ms=self._station.trigger.deadline_ms if trigger else None,
            score=decision.score if decision else None,
            limit=thresholds.factor,
            defects=decision.defects if decision else (),
            defect_mask=decision.defect_mask if decision else None,
            frame_seq=event.seq if event else None,
            clock_synced=clock_is_synced(),
            is_simulated=self.is_simulated,
        )


def _rfc3339(wall_ns: int) -> str:
    wall = datetime.fromtimestamp(wall_ns / 1e9, tz=timezone.utc)
    return wall.isoformat(timespec="microseconds").replace("+00:00", "Z")
