"""kill -9 of daemon, camera process or broker, each at a drawn moment of a part's life, again and again on one line."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from chaos.journal import steps_of
from chaos.line import Line
from chaos.rule import find_violations

VICTIMS = ("daemon", "camera", "broker")
_CALM_PARTS = 10
_PATIENCE_S = 90.0
# Without a journal nothing more will come.
_PATIENCE_WITHOUT_JOURNAL_S = 5.0


def kill_again_and_again(line: Line, numbers: range, *, keeps_journal: bool = True) -> Iterator[dict[str, Any]]:
    """Yield what one kill after the other did: who, when, at which step the part was, and what broke the rule.

    Args:
        line: Ready.
        numbers: Of the kills; each is drawn by its own number, so that a run that is continued draws the same.
        keeps_journal: Without, the outbox is deleted between kill and restart: then verdicts must be seen to be lost.
    """
    lives_ms = [line.plc.ask().round_trip_ms or 0.0 for _ in range(_CALM_PARTS)]
    life_ms = statistics.median(lives_ms)
    for number in numbers:
        draw = random.Random(number)
        victim = draw.choice(VICTIMS) if keeps_journal else "daemon"
        delay_ms = draw.uniform(0.0, 1.2 * life_ms)
        row = {"number": number, "victim": victim, "delay_ms": delay_ms, "life_ms": life_ms}
        yield {**row, **_kill_once(line, victim, delay_ms / 1000, keeps_journal=keeps_journal)}
        line.forget()


def _kill_once(line: Line, victim: str, delay_s: float, *, keeps_journal: bool) -> dict[str, Any]:
    trigger = line.plc.send()
    time.sleep(delay_s)
    began = time.monotonic()
    _kill(line, victim)
    step = steps_of(line.outbox).get(trigger.meas_id, "not accepted")
    if not keeps_journal:
        line.note_journal()
        _delete_outbox(line.outbox)
    _revive(line, victim, began)
    line.plc.wait_for(lambda: _is_inspected(line), "an inspected part", _PATIENCE_S)
    recovered_s = time.monotonic() - began
    line.settle(_PATIENCE_S if keeps_journal else _PATIENCE_WITHOUT_JOURNAL_S)
    results = {v["result_id"]: v for v in line.plc.verdicts_of(trigger)}
    return {
        "step": step,
        "accepted": len(line.accepted),
        "verdicts": sorted("/".join([v["verdict"], *v["reasons"]]) for v in results.values()),
        "recovered_s": recovered_s,
        **find_violations(line.evidence()).told(line.plc.parts),
    }


def _is_inspected(line: Line) -> bool:
    verdict = line.plc.ask().verdict
    return verdict is not None and verdict["score"] is not None


def _kill(line: Line, victim: str) -> None:
    match victim:
        case "daemon":
            line.kill_daemon()
        case "camera":
            # It may be between two lives.
            with suppress(ProcessLookupError, ValueError):
                os.kill(line.camera_pid(), signal.SIGKILL)
        case "broker":
            line.broker.kill()


def _revive(line: Line, victim: str, since: float) -> None:
    if victim == "daemon":
        line.restart_daemon()
    if victim == "broker":
        line.broker.start()
        line.plc.wait_for(lambda: line.plc.is_state("ready", since=since), "state ready", _PATIENCE_S)


def _delete_outbox(outbox: Path) -> None:
    for file in outbox.parent.glob(f"{outbox.name}*"):
        file.unlink()
