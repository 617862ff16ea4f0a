"""Which frame shows which part, where an electrical trigger fires the camera and MQTT brings the ids.

They belong together if the frame came inside [min, max] after the trigger, and nothing else did: one frame with two
triggers, or one trigger with two frames, could be the part before or the one after. Where frames are known to be
missing, nothing is believed until one frame and one trigger have come alone again.

All times are CLOCK_MONOTONIC and given: a frame's is the moment at which it lay whole in memory, a trigger's its receipt.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from edge_agent.camera.messages import BadFrame, FrameCaptured, FrameSkipped

# What has happened is known so much later at most: a message between two processes, two threads that take turns.
KNOWN_WITHIN_NS = 20_000_000


def settles_within_ns(min_ns: int, max_ns: int) -> int:
    """Return how long after its trigger a part settles at the latest: its frame at the end of the window, a rival behind it."""
    return max_ns + max(0, -min_ns) + KNOWN_WITHIN_NS


@dataclass
class _Trigger:
    received_ns: int
    is_done: bool = False


@dataclass
class _Frame:
    """A frame that came; `held` is None once its slot was given back, and for one that found no slot."""

    written_ns: int
    held: FrameCaptured | BadFrame | None


class Pairing:
    """Frames and triggers of the last moments; `expect` and `forget` are for any thread, the rest for one.

    Args:
        min_ns: How long after its trigger a frame comes at least; negative where it may come before.
        max_ns: How long after its trigger it comes at most.
        patience_ns: How long after its trigger a part needs no verdict any more.
    """

    def __init__(self, min_ns: int, max_ns: int, patience_ns: int) -> None:
        self._min_ns, self._max_ns, self._patience_ns = min_ns, max_ns, patience_ns
        self._lock = threading.Lock()
        self._triggers: list[_Trigger] = []
        self._frames: list[_Frame] = []
        self._blind_until_ns = math.inf
        self._missing_at_ns: int | None = None

    def expect(self, received_ns: int) -> None:
        """Take a trigger into account, understood or not: it has fired the camera."""
        with self._lock:
            self._triggers.append(_Trigger(received_ns))

    def forget(self, received_ns: int) -> None:
        """Take it back: it repeated an earlier one and fired nothing."""
        with self._lock:
            self._triggers = [trigger for trigger in self._triggers if trigger.received_ns != received_ns]

    def add(self, event: FrameCaptured | BadFrame | FrameSkipped) -> None:
        """Take a frame into account; its slot is held until `release` gives it back."""
        if isinstance(event, FrameSkipped):
            self._frames.append(_Frame(event.written_ns, None))
            self._miss(event.written_ns)
        else:
            self._frames.append(_Frame(event.written_ns, event))

    def go_blind(self) -> None:
        """Say that the camera was lost: from now on frames go unseen."""
        self._blind_until_ns = math.inf

    def see_again(self, now_ns: int) -> None:
        """Say that every frame from now on is seen."""
        self._blind_until_ns = now_ns

    def frame_of(self, received_ns: int) -> FrameCaptured | BadFrame | None:
        """Return the first frame that may belong to a trigger and lies in its slot, None while there is none."""
        return next((frame.held for frame in self._fitting(received_ns) if frame.held), None)

    def settles_ns(self, received_ns: int) -> int:
        """Return when nothing that may still come can change what `settle` says of a trigger."""
        rivals_until_ns = [frame.written_ns - self._min_ns for frame in self._fitting(received_ns)]
        return max(received_ns + self._max_ns, *rivals_until_ns, 0) + KNOWN_WITHIN_NS

    def settle(self, received_ns: int) -> str | None:
        """Return why a trigger's frame cannot be believed, None if it can; once for each trigger, when it settles.

        Returns:
            `no_frame`, `ambiguous_pairing`, or `frame_gap`: frames were lost, and have not agreed with triggers since.
        """
        frames = self._fitting(received_ns)
        begins_ns = received_ns + self._min_ns
        if not frames:
            self._miss(received_ns + self._max_ns)
            return "no_frame"
        if len(frames) > 1 or len(self._claims(frames[0])) > 1:
            return "ambiguous_pairing"
        if self._missing_at_ns is not None:
            # This pair shows that they agree again, if all of it came after what is missing; the next is believed.
            if begins_ns > max(self._missing_at_ns, self._blind_until_ns):
                self._missing_at_ns = None
            return "frame_gap"
        return "frame_gap" if begins_ns <= self._blind_until_ns else None

    def doubt(self, received_ns: int) -> None:
        """Say, instead of `settle`, that when a trigger came is not known: a frame may be missing, or one too many."""
        self._miss(received_ns + self._max_ns)

    def done(self, received_ns: int) -> None:
        """Say that a trigger has its verdict and needs no frame any more."""
        with self._lock:
            for trigger in self._triggers:
                trigger.is_done |= trigger.received_ns == received_ns

    def held_slots(self) -> set[int]:
        """Return the slots of the ring that hold frames which are still needed."""
        return {frame.held.slot for frame in self._frames if frame.held}

    def release(self, now_ns: int) -> list[tuple[FrameCaptured | BadFrame, float | None]]:
        """Give back the slots that nobody needs any more, and forget what is long past.

        Returns:
            The frames that no trigger claimed, and how many ms after its trigger the nearest one came.
        """
        strays = []
        for frame in self._frames:
            claims = self._claims(frame)
            is_claimable = now_ns <= frame.written_ns - self._min_ns + KNOWN_WITHIN_NS
            is_waited_for = any(not t.is_done and now_ns < t.received_ns + self._patience_ns for t in claims)
            if frame.held and not is_claimable and not is_waited_for:
                if not claims:
                    strays.append((frame.held, self._nearest_ms(frame)))
                frame.held = None
        oldest_ns = now_ns - self._patience_ns - abs(self._min_ns) - abs(self._max_ns) - KNOWN_WITHIN_NS
        self._frames = [frame for frame in self._frames if frame.held or frame.written_ns >= oldest_ns]
        with self._lock:
            self._triggers = [trigger for trigger in self._triggers if trigger.received_ns >= oldest_ns]
        return strays

    def _miss(self, at_ns: int) -> None:
        self._missing_at_ns = max(at_ns, self._missing_at_ns or at_ns)

    def _fitting(self, received_ns: int) -> list[_Frame]:
        return [frame for frame in self._frames if self._fits(frame, received_ns)]

    def _fits(self, frame: _Frame, received_ns: int) -> bool:
        return self._min_ns <= frame.written_ns - received_ns <= self._max_ns

    def _claims(self, frame: _Frame) -> list[_Trigger]:
        with self._lock:
            return [trigger for trigger in self._triggers if self._fits(frame, trigger.received_ns)]

    def _nearest_ms(self, frame: _Frame) -> float | None:
        with self._lock:
            after_ns = [frame.written_ns - trigger.received_ns for trigger in self._triggers]
        return min(after_ns, key=abs) / 1e6 if after_ns else None
