"""The reference consumer: what a PLC must do with triggers and verdicts. No I/O and no clock of its own.

The rule: act only if `meas_id` is the one outstanding, the own timer still runs, the station's life counter has changed
within 3 s, `recipe` is the one asked for, and the verdict is neither simulated nor historical. Acknowledge everything.
Reject on the own timeout, and at once when the life counter stands still. Only PASS lets a part go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_agent.inspection import Trigger
from edge_agent.messages import parse_object
from engines.errors import MessageError

LONGEST_WITHOUT_LIFE_NS = 3_000_000_000
_REMEMBERED = 10_000

Action = Literal["accept", "reject"]


@dataclass(frozen=True)
class PartResult:
    """What became of one part; `verdict` is the message that decided, None on a timeout."""

    trigger: Trigger
    action: Action
    why: str
    verdict: Mapping[str, Any] | None
    received_ns: int | None

    @property
    def round_trip_ms(self) -> float | None:
        """From the trigger to the verdict."""
        return None if self.received_ns is None else (self.received_ns - self.trigger.received_ns) / 1e6


@dataclass(frozen=True)
class Received:
    """One verdict received: acknowledge `result_id` in any case; `result` is set if it decided the open part."""

    result_id: str
    content: Mapping[str, Any]
    is_new: bool
    result: PartResult | None


class Consumer:
    """Asks for one part at a time and decides what to do with it.

    Args:
        first_meas_id: Where the counter starts; it must not repeat within the station's dedupe window.
        recipe: The recipe that the parts need; None takes whichever the station has.
        timeout_ms: The own timer: how long the part can wait.
        accepts_simulated: For demos and tests only.
    """

    def __init__(
        self, *, first_meas_id: int, recipe: str | None = None, timeout_ms: int, accepts_simulated: bool = False
    ) -> None:
        self._next_meas_id = first_meas_id
        self._recipe, self._timeout_ms, self._accepts_simulated = recipe, timeout_ms, accepts_simulated
        self._open: Trigger | None = None
        self._life: tuple[str, int] | None = None
        self._alive_until_ns = 0
        self._result_of_part: OrderedDict[int, str | None] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self.contradictions = 0

    @property
    def deadline_ns(self) -> int | None:
        """When the open part is rejected unless something comes; None while no part is open."""
        if self._open is None:
            return None
        return min(self._open.received_ns + self._timeout_ms * 1_000_000, self._alive_until_ns)

    def is_alive(self, now_ns: int) -> bool:
        """Return whether the station's life counter has changed within the last 3 s."""
        return now_ns < self._alive_until_ns

    def take_health(self, payload: bytes, received_ns: int) -> None:
        """Take a sign of life; one that was there before, such as a repeated message, is none.

        Raises:
            MessageError: It is no sign of life; nothing was changed.
        """
        content = parse_object(payload, "health")
        boot_id, life = content.get("boot_id"), content.get("life")
        if not isinstance(boot_id, str) or type(life) is not int:
            raise MessageError("health has no `boot_id` or `life`.", fix="Check what publishes on the health topic.")
        if (boot_id, life) != self._life:
            self._life, self._alive_until_ns = (boot_id, life), received_ns + LONGEST_WITHOUT_LIFE_NS

    def ask(self, part_id: str, now_ns: int) -> Trigger:
        """Begin with the next part; the trigger is to be sent at once.

        Raises:
            MessageError: A part is still open.
        """
        if self._open is not None:
            raise MessageError(
                f"part {self._open.part_id!r} is still open.",
                fix="Wait for its verdict or its timeout before the next.",
            )
        meas_id = self._next_meas_id
        self._next_meas_id += 1
        self._open = Trigger(meas_id, part_id, None, self._recipe, self._timeout_ms, now_ns)
        _remember(self._result_of_part, meas_id, None)
        return self._open

    def give_up(self, why: str) -> PartResult:
        """Reject the open part without a verdict.

        Raises:
            MessageError: No part is open.
        """
        if self._open is None:
            raise MessageError("no part is open.", fix="Ask for one first.")
        trigger, self._open = self._open, None
        return PartResult(trigger, "reject", why, None, None)

    def check_timer(self, now_ns: int) -> PartResult | None:
        """Reject the open part if its timer has run out, or if the station gives no sign of life."""
        deadline_ns = self.deadline_ns
        if deadline_ns is None or now_ns < deadline_ns:
            return None
        return self.give_up("timeout" if self.is_alive(now_ns) else "no sign of life")

    def take_verdict(self, payload: bytes, received_ns: int) -> Received:
        """Apply the rule to one message.

        Raises:
            MessageError: It is no verdict; nothing was changed.
        """
        content = parse_object(payload, "verdict")
        result_id, meas_id = content.get("result_id"), content.get("meas_id")
        if not isinstance(result_id, str) or not result_id.isascii():
            raise MessageError("verdict has no readable `result_id`.", fix="Check what publishes on the verdict topic.")
        is_new = result_id not in self._seen
        _remember(self._seen, result_id, None)
        # Python takes 7.0 and, for 1, true for the same number; an id is the same only with its type.
        if type(meas_id) is not int:
            return Received(result_id, content, is_new, None)
        if meas_id in self._result_of_part:
            first = self._result_of_part[meas_id]
            self._result_of_part[meas_id] = first or result_id
            self.contradictions += first is not None and first != result_id
        if not is_new or self._open is None or meas_id != self._open.meas_id:
            return Received(result_id, content, is_new, None)
        result = self.check_timer(received_ns)
        if result is None:
            why_not = self._why_not(content)
            trigger, self._open = self._open, None
            result = PartResult(trigger, "reject" if why_not else "accept", why_not or "PASS", content, received_ns)
        return Received(result_id, content, is_new, result)

    def _why_not(self, content: Mapping[str, Any]) -> str | None:
        """Return why the open part must not pass; a missing flag counts against it."""
        if self._open is not None and content.get("part_id") != self._open.part_id:
            return f"verdict is for part {content.get('part_id')!r}"
        if self._recipe is not None and content.get("recipe") != self._recipe:
            return f"verdict is of recipe {content.get('recipe')!r}"
        if content.get("is_historical") is not False:
            return "verdict is historical"
        if content.get("is_simulated") is not False and not (self._accepts_simulated and content.get("is_simulated")):
            return "verdict is simulated"
        if content.get("verdict") != "PASS":
            reasons = content.get("reasons")
            extra = "/" + ",".join(map(str, reasons)) if isinstance(reasons, list) and reasons else ""
            return f"{content.get('verdict')}{extra}"
        return None


def _remember(memory: OrderedDict[Any, Any], key: str | int, value: str | None) -> None:
    memory[key] = value
    while len(memory) > _REMEMBERED:
        memory.popitem(last=False)
