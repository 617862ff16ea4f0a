"""What goes into the outbox and comes out of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.clock import clock_is_synced
from edge_agent.ids import kernel_boot_id
from edge_agent.inspection import Trigger


@dataclass(frozen=True)
class Clock:
    """Wall time for people and across boots, CLOCK_MONOTONIC for every interval, and the boot it belongs to.

    `is_set` says whether the wall time can be believed.
    """

    wall_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    boot_id: str = field(default_factory=kernel_boot_id)
    is_set: Callable[[], bool] = clock_is_synced


@dataclass(frozen=True)
class Accepted:
    """A new part: inspect it and store its verdict under `trigger_id`."""

    trigger_id: int


@dataclass(frozen=True)
class Repeat:
    """The same part again. Its verdict is due once more, or, with `result_id` None, still to come."""

    trigger_id: int
    result_id: str | None


@dataclass(frozen=True)
class Conflict:
    """The measurement id belongs to another part: store `INVALID/id_conflict` under `trigger_id`."""

    trigger_id: int


@dataclass(frozen=True)
class OpenTrigger:
    """A journalled trigger without a verdict."""

    trigger_id: int
    trigger: Trigger


@dataclass(frozen=True)
class OutboxEntry:
    """A verdict to be sent."""

    seq: int
    result_id: str
    payload: bytes
    mask_png: bytes | None
    sends: int
    age_s: float
