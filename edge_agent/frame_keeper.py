"""Which frames outlive their slot: those for the archive, and those of a collection for new thresholds.

A frame is copied from its slot by the inspection thread, after its verdict is on its way, and only where it finds room
in the queue; everything else happens in the background. Nothing here can hold up or stop the inspection.
"""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from typing import Any

from edge_agent.archive import Archive, Kind, Sighting
from edge_agent.background_writer import BackgroundWriter
from edge_agent.collection import CollectedFrame, Collection, CollectionStatus, end_abandoned, next_folder
from edge_agent.decision import Decision
from edge_agent.live_recipe import LiveRecipe
from edge_agent.pipeline import Judgement
from edge_agent.station import Station
from edge_agent.verdict_writer import Stored
from engines.images import Frame

_MOST_WAITING = 8
_MB = 1_000_000


class FrameKeeper:
    """Used by the inspection thread.

    Args:
        station: Says whether there is an archive, and where collections go.
        live: The recipe in force.
    """

    def __init__(self, station: Station, live: LiveRecipe) -> None:
        self._station, self._live = station, live
        self._writer = BackgroundWriter(_MOST_WAITING)
        wish = station.archive
        self._archive = wish and Archive(wish.folder, max_bytes=wish.max_mb * _MB, keep_days=wish.keep_days)
        self._pass_every = wish.pass_every if wish else None
        self._passed = 0
        self._collection: Collection | None = None
        self._taken = self._dropped = 0
        self._ending: list[tuple[Collection, str]] = []

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()
        self._writer.offer(partial(end_abandoned, self._station.state_dir))

    def stop(self) -> None:
        """Write what waits, for some seconds at most."""
        self.end_collection("stopped")
        self._writer.stop()

    @property
    def error(self) -> str | None:
        """Why the last frame could not be kept; None if it could."""
        return self._writer.error

    @property
    def is_collecting(self) -> bool:
        """Whether frames are collected for new thresholds."""
        return self._collection is not None

    def content(self) -> dict[str, Any]:
        """Return what a message says of it."""
        counts: dict[str, Any] = {"dropped": self._dropped, "failed": self._writer.failed}
        if self._archive:
            counts["archive_mb"] = round(self._archive.held_bytes / _MB)
        # Once: the inspection thread may end it meanwhile.
        if collection := self._collection:
            counts["collecting"] = {"wanted": collection.status.wanted, "taken": self._taken}
        return counts

    def keep(self, stored: Stored, judgement: Judgement, frame: Frame) -> None:
        """Copy a frame if somebody will want to see it.

        Args:
            stored: Its verdict.
            judgement: With its maps.
            frame: The slot, (H, W, C) uint8; read only, copied.
        """
        inspection, decision = stored.inspection, judgement.decision
        self._end_collections()
        if self._collection and decision is not None:
            self._collect(self._collection, stored, decision, frame)
        kind: Kind = "LATE" if stored.is_late else inspection.verdict
        if not (self._archive and self._is_wanted(kind)):
            return
        if not self._writer.has_room():
            self._dropped += 1
            return
        archive, maps = self._archive, judgement.maps
        seen = Sighting(
            kind,
            inspection.decided_at,
            inspection.seq,
            frame.copy(),
            None if maps is None else maps.copy(),
            stored.payload,
        )
        # A clock that nobody has set would make every frame look old, or young.
        today = datetime.now(timezone.utc).date() if inspection.clock_synced else None
        self._writer.offer(partial(archive.add, seen, today=today))

    def begin_collection(self, frames: int) -> str | None:
        """Collect so many frames from now on, or return why that cannot be."""
        if self._collection:
            return (
                f"a collection runs, {self._taken} of {self._collection.status.wanted} frames are there. Wait for its "
                "end, or send 'reload', which ends it."
            )
        status = CollectionStatus(
            recipe=self._live.recipe.name,
            threshold_rev=self._live.thresholds.name,
            mode=self._station.camera.mode,
            wanted=frames,
        )
        try:
            self._collection = Collection(next_folder(self._station.state_dir), status)
        except OSError as problem:
            return f"the collection cannot begin: {problem}. Make room, or let the agent write to its state_dir."
        self._taken = 0
        return None

    def end_collection(self, why: str) -> None:
        """End what is being collected; the frames until now stay."""
        if self._collection:
            self._ending.append((self._collection, why))
        self._collection = None
        self._end_collections()

    def _end_collections(self) -> None:
        """Have those that shall end say so, as soon as there is room."""
        while self._ending and self._writer.has_room():
            collection, why = self._ending.pop()
            self._writer.offer(partial(collection.end, why))

    def _collect(self, collection: Collection, stored: Stored, decision: Decision, frame: Frame) -> None:
        if collection.status.ended is not None:
            self._collection = None
        elif not self._writer.has_room():
            # Beyond a gap they are no longer all frames, and which are missing may depend on what they showed.
            self.end_collection("too_fast")
        else:
            trigger, result_id = stored.inspection.trigger, stored.inspection.result_id
            part_id = trigger.part_id if trigger else None
            one = CollectedFrame(frame.copy(), result_id, part_id, decision.verdict, decision.score)
            self._writer.offer(partial(collection.add, one))
            self._taken += 1
            if self._taken == collection.status.wanted:
                self._collection = None

    def _is_wanted(self, kind: Kind) -> bool:
        if kind != "PASS":
            return True
        self._passed += 1
        return self._pass_every is not None and self._passed % self._pass_every == 0
