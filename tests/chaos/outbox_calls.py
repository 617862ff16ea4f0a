"""The daemon is killed as it enters one system call on its outbox after the other: every step that there is."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

from chaos.journal import steps_of
from chaos.line import Line
from chaos.rule import find_violations
from chaos.synced_disk import find_strace

_PATIENCE_S = 90.0
MOST_PARTS = 40


def kill_at_calls(line: Line, numbers: range) -> Iterator[dict[str, Any]]:
    """Yield what became of the parts that were open when each of these calls was about to be made.

    Args:
        line: Ready; the daemon is ended and started anew for each.
        numbers: Of the write or sync, counted by strace in each thread: the first thread that comes so far is the one.
    """
    line.station.stop()
    for number in numbers:
        line.station.prefix = strace_of(line, "pwrite64,fdatasync", f"signal=KILL:when={number + 1}")
        line.station.start()
        asked = _ask_until_dead(line, random.Random(number))
        line.station.kill()
        steps = steps_of(line.outbox)
        line.station.prefix = []
        line.restart_daemon()
        line.plc.wait_for(lambda: line.plc.ask().verdict, "a verdict", _PATIENCE_S)
        line.settle(_PATIENCE_S)
        yield {
            "number": number,
            "asked": len(asked),
            "step": steps.get(asked[-1] if asked else 0, "not accepted"),
            "accepted": len(line.accepted),
            **find_violations(line.evidence()).told(line.plc.parts),
        }
        line.forget()
        line.station.stop()


def _ask_until_dead(line: Line, draw: random.Random) -> list[int]:
    """Send parts, some while another is open, until the daemon is killed; return their measurement ids."""
    process, plc, since = line.station.process, line.plc, time.monotonic()
    line.until(lambda: process.poll() is not None or plc.is_state("ready", since=since), "the start or the end")
    asked = []
    while process.poll() is None and len(asked) < MOST_PARTS:
        asked.append(plc.send().meas_id if draw.random() < 0.5 else plc.ask().trigger.meas_id)
    return asked


def strace_of(line: Line, calls: str, fault: str) -> list[str]:
    """Return the prefix under which an agent meets a fault at its calls on the outbox's log; see strace(1), `inject`."""
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    return [str(find_strace()), "-D", "-f", "-q", "-o", "/dev/null", "-P", f"{line.outbox}-wal", *inject]
