"""The daemon is killed at every step of a part, and stands still."""

import os
import signal
from collections import Counter

import pytest

from chaos.kills import kill_again_and_again
from chaos.outbox_calls import MOST_PARTS, kill_at_calls
from chaos.synced_disk import find_strace

MOST_KILLS = 12
STEPS = ("before the journal", "journalled", "stored", "sent", "received", "acknowledged")


def bring_to(line, step):
    """Leave one part at a step of its way, with nothing that could carry it further; return its trigger."""
    plc = line.plc
    if step == "before the journal":
        os.kill(line.pid, signal.SIGSTOP)
        return plc.send()
    if step == "journalled":
        os.kill(line.camera_pid(), signal.SIGSTOP)
    if step in {"stored", "sent"}:
        line.proxy.hold("to_broker")
    plc.acknowledges = step == "acknowledged"
    trigger = plc.send()
    if step == "stored":
        # Without a connection nothing is sent; the part is in the agent already.
        line.until(lambda: trigger.meas_id in line.accepted, "the journal")
        line.proxy.upstream = 1
        line.proxy.reset()
    line.wait_for_step(trigger.meas_id, {"received": "sent"}.get(step, step), *["sent"] * (step == "stored"))
    if step == "received":
        line.until(lambda: plc.verdicts_of(trigger), "the verdict")
    return trigger


@pytest.mark.parametrize("step", STEPS)
def test_kill_9_at_every_step_of_a_part(line, step):
    line.plc.ask()
    trigger = bring_to(line, step)
    line.kill_daemon()
    line.proxy.let_through()
    line.proxy.upstream = line.broker.port
    line.converges("offline", after=f"kill -9 when {step}")
    line.plc.acknowledges = True
    assert line.plc.ask().action == "reject"
    line.restart_daemon()
    assert line.next_verdict()
    line.check()
    reasons = Counter(reason for verdict in line.plc.verdicts_of(trigger) for reason in verdict["reasons"])
    assert bool(reasons["restart"]) == (step == "journalled")
    assert bool(line.plc.verdicts_of(trigger)) == (step != "before the journal")


def test_a_journal_that_hangs(make_line, tmp_path):
    line = make_line()
    line.station.log = tmp_path / "journal"
    os.mkfifo(line.station.log)
    with os.fdopen(os.open(line.station.log, os.O_RDWR | os.O_NONBLOCK), "wb", buffering=0) as journal:
        while journal.write(b"full\n"):
            pass
        line.start()
        assert line.next_verdict()["reasons"] == []
        line.check()
        assert line.station.stop() == 0


def test_a_daemon_that_stands_still_beyond_the_deadline_passes_nothing(make_line):
    line = make_line("&live=true&fps=50").start()
    line.plc.ask()
    os.kill(line.camera_pid(), signal.SIGSTOP)
    trigger = line.plc.send()
    line.wait_for_step(trigger.meas_id, "journalled")
    os.kill(line.pid, signal.SIGSTOP)
    os.kill(line.camera_pid(), signal.SIGCONT)
    assert line.plc.ask().action == "reject"
    os.kill(line.pid, signal.SIGCONT)
    line.check()
    assert {(v["verdict"], *v["reasons"]) for v in line.plc.verdicts_of(trigger)} <= {
        ("INVALID", "deadline"),
        ("INVALID", "no_frame"),
        ("INVALID", "late_frame"),
    }


def test_an_inference_past_the_deadline(line):
    results = [line.plc.ask(timeout_ms=1) for _ in range(5)]
    line.check()
    assert {result.action for result in results} == {"reject"}
    verdicts = [verdict for part in line.plc.parts.values() for verdict in part.verdicts]
    assert {verdict["verdict"] for verdict in verdicts} == {"INVALID"}
    reasons = {reason for verdict in verdicts for reason in verdict["reasons"]}
    # A machine that stands still for longer than the consumer's own timer gets the next part while this one waits.
    assert reasons <= {"expired", "deadline", "no_frame", "overload"}


@pytest.mark.parametrize("call", [1, 9])
def test_kill_9_at_a_write_or_sync_of_the_outbox(line, call):
    if find_strace() is None:
        pytest.skip("needs strace that may trace: apt-get install strace")
    (row,) = kill_at_calls(line, range(call, call + 1))
    assert row["violations"] == {}
    assert row["asked"] < MOST_PARTS


def test_without_its_journal_the_same_kills_are_seen_to_lose_verdicts(line):
    rows = kill_again_and_again(line, range(MOST_KILLS), keeps_journal=False)
    assert any("lost" in row["violations"] for row in rows)
