"""The outbox when its file, its disk or its process fails, and when it is full."""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest
from outbox_steps import WINDOW_S, send, store, trigger

from edge_agent.outbox import Outbox
from edge_agent.outbox_records import Accepted, Repeat
from engines.errors import OutboxError


@pytest.mark.parametrize("damage", [b"this is no database at all" * 100, None])
def test_a_damaged_file_is_kept_aside_and_named(open_outbox, path, damage):
    before = open_outbox()
    for number in range(50):
        store(before, f"r{number}", mask_png=b"m" * 3000)
    before.close()
    content = bytearray(path.read_bytes())
    if damage is None:
        content[4096:12288] = b"\xa5" * 8192
    else:
        content = damage
    path.write_bytes(content)
    with pytest.raises(OutboxError, match="was kept as") as caught:
        open_outbox()
    assert "next start begins with an empty outbox" in str(caught.value)
    aside = [p for p in path.parent.iterdir() if ".damaged-" in p.name and not p.name.endswith(("-wal", "-shm"))]
    assert [p.read_bytes() for p in aside] == [bytes(content)]
    assert str(aside[0]) in str(caught.value)
    assert open_outbox().depth() == 0


def test_a_file_of_a_newer_version_is_left_alone(open_outbox, path):
    open_outbox().close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(OutboxError, match="schema 99"):
        open_outbox()
    assert path.exists()


def test_a_directory_that_is_not_there_says_what_to_check(tmp_path):
    with pytest.raises(OutboxError, match="Check that its directory exists"):
        Outbox(tmp_path / "missing" / "outbox.sqlite3", dedupe_window_s=1)


def test_a_full_outbox_refuses_and_recovers(outbox):
    part = outbox.accept(trigger())
    outbox._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(OutboxError, match="full"):
        store(outbox, "big", part.trigger_id, mask_png=b"x" * 200_000)
    outbox._connection.execute("PRAGMA max_page_count = 1000000")
    outbox.probe()
    assert store(outbox, "r1", part.trigger_id)[1] is True
    assert outbox.depth() == 1


def test_a_probe_of_a_closed_outbox_fails(open_outbox):
    closed = open_outbox()
    closed.close()
    with pytest.raises(OutboxError):
        closed.probe()


def test_only_what_must_survive_a_power_cut_waits_for_the_disk(outbox):
    def synchronous():
        return outbox._connection.execute("PRAGMA synchronous").fetchone()[0]

    full, normal = 2, 1
    part = outbox.accept(trigger())
    assert synchronous() == full
    outbox.mark_sent([1], ack_timeout_s=2)
    assert synchronous() == normal
    store(outbox, "r1", part.trigger_id)
    assert synchronous() == full
    outbox.acknowledge(["r1"])
    assert synchronous() == normal


WRITER = """
import sys, time
from pathlib import Path
from edge_agent.inspection import Trigger
from edge_agent.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]), dedupe_window_s=60)
for number in range(int(sys.argv[2]), 10**9):
    part = outbox.accept(Trigger(str(number), "p", "j", None, None, time.monotonic_ns()))
    outbox.store(seq=outbox.next_seq(), result_id=f"r{number}", boot_id="b", payload=b"x" * 3000,
                 trigger_id=part.trigger_id)
    print(number, flush=True)
"""


def test_kill_9_in_the_middle_of_storing_loses_nothing(path):
    confirmed = -1
    for lines in (3, 17, 40):
        command = [sys.executable, "-c", WRITER, str(path), str(confirmed + 100)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            said = [int(process.stdout.readline()) for _ in range(lines)]
            os.kill(process.pid, signal.SIGKILL)
            said += [int(line) for line in process.stdout.read().split(b"\n")[:-1]]
        confirmed = said[-1]
        outbox = Outbox(path, dedupe_window_s=60)
        stored = {e.result_id for e in outbox.due_live(after_seq=0, limit=10**6)}
        still_open = outbox.open_triggers()
        assert {f"r{number}" for number in said} <= stored
        assert len(still_open) <= 1
        assert all(f"r{one.trigger.meas_id}" not in stored for one in still_open)
        assert outbox.depth() == outbox.last_seq == len(stored)
        for one in still_open:
            store(outbox, f"r{one.trigger.meas_id}", one.trigger_id)
        outbox.close()


def refuse_commits(action, first, *_):
    is_commit = action == sqlite3.SQLITE_TRANSACTION and first == "COMMIT"
    return sqlite3.SQLITE_DENY if is_commit else sqlite3.SQLITE_OK


def test_a_commit_that_fails_leaves_the_depth(outbox):
    part = outbox.accept(trigger())
    send(outbox, "r1", part.trigger_id)
    outbox.acknowledge(["r1"])
    send(outbox, "r2")
    outbox._connection.set_authorizer(refuse_commits)
    for change in (
        lambda: outbox.accept(trigger()),
        lambda: store(outbox, "r3"),
        lambda: outbox.acknowledge(["r2"]),
    ):
        with pytest.raises(OutboxError):
            change()
        assert outbox.depth() == 1
    outbox._connection.set_authorizer(lambda *_: sqlite3.SQLITE_OK)
    assert isinstance(outbox.accept(trigger()), Repeat)
    assert outbox.depth() == 2


def test_the_depth_changes_only_under_the_lock(outbox):
    locked = []

    class Watched(int):
        def __add__(self, other):
            locked.append(outbox._lock.locked())
            return Watched(int(self) + other)

        def __sub__(self, other):
            return self + -other

    outbox._depth = Watched(0)
    part = outbox.accept(trigger())
    send(outbox, "r1", part.trigger_id)
    outbox.acknowledge(["r1"])
    outbox.accept(trigger())
    assert outbox.depth() == 1
    assert len(locked) >= 3
    assert all(locked)


def test_a_full_outbox_accepts_no_new_part_but_stores_what_was_accepted(path, now):
    outbox = Outbox(path, dedupe_window_s=WINDOW_S, most_waiting=20, clock=now.clock)
    parts = [outbox.accept(trigger(str(number))) for number in range(21)]
    for number, part in enumerate(parts):
        assert outbox.is_filling == (number >= 2)
        assert store(outbox, f"r{number}", part.trigger_id)[1], "nothing accepted is dropped"
    with pytest.raises(OutboxError, match="is full: 21 verdicts are not acknowledged"):
        outbox.accept(trigger("new"))
    with pytest.raises(OutboxError, match="is full"):
        outbox.probe()
    with pytest.raises(OutboxError, match="is full"):
        store(outbox, "free run")
    assert isinstance(outbox.accept(trigger("3")), Repeat)
    outbox.mark_sent(range(1, 22), ack_timeout_s=1)
    outbox.acknowledge(["r0", "r1"])
    outbox.probe()
    assert isinstance(outbox.accept(trigger("new")), Accepted)
    outbox.close()
