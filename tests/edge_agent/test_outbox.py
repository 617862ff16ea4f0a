import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import dataclass, field

import pytest

from edge_agent.inspection import Trigger
from edge_agent.outbox import Outbox
from edge_agent.outbox_records import Accepted, Clock, Conflict, Repeat
from engines.errors import OutboxError

WINDOW_S = 30.0


@dataclass
class FakeTime:
    wall_ns: int = 1_700_000_000_000_000_000
    monotonic_ns: int = 5_000_000_000
    boot: str = "kernel-1"
    clock: Clock = field(init=False)

    def __post_init__(self):
        self.reboot(self.boot, self.monotonic_ns)

    def reboot(self, boot, monotonic_ns=1_000_000_000):
        self.monotonic_ns = monotonic_ns
        self.clock = Clock(lambda: self.wall_ns, lambda: self.monotonic_ns, boot)

    def pass_s(self, seconds):
        self.wall_ns += round(seconds * 1e9)
        self.monotonic_ns += round(seconds * 1e9)


@pytest.fixture
def now():
    return FakeTime()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.sqlite3"


@pytest.fixture
def open_outbox(path, now):
    opened = []

    def open_one():
        opened.append(Outbox(path, dedupe_window_s=WINDOW_S, clock=now.clock))
        return opened[-1]

    yield open_one
    for outbox in opened:
        outbox.close()


@pytest.fixture
def outbox(open_outbox):
    return open_outbox()


def trigger(meas_id="1", part_id="p1", job_id="j", at_ns=5_000_000_000):
    return Trigger(meas_id, part_id, job_id, "bottle", 500, at_ns)


def store(outbox, result_id, trigger_id=None, mask_png=None):
    seq = outbox.next_seq()
    stored = outbox.store(
        seq=seq, result_id=result_id, boot_id="b", payload=result_id.encode(), mask_png=mask_png, trigger_id=trigger_id
    )
    return seq, stored


def send(outbox, result_id, trigger_id=None):
    seq, stored = store(outbox, result_id, trigger_id)
    outbox.mark_sent([seq], ack_timeout_s=2)
    return seq, stored


def rows(path, table):
    with sqlite3.connect(path) as database:
        return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_a_new_part_is_accepted_and_open(outbox):
    answer = outbox.accept(trigger())
    assert isinstance(answer, Accepted)
    assert [(one.trigger_id, one.trigger) for one in outbox.open_triggers()] == [(answer.trigger_id, trigger())]


def test_a_stored_verdict_closes_its_part(outbox):
    part = outbox.accept(trigger())
    assert store(outbox, "r1", part.trigger_id)[1] is True
    assert outbox.open_triggers() == []
    assert outbox.depth() == 1


def test_the_first_verdict_is_terminal(outbox):
    part = outbox.accept(trigger())
    store(outbox, "r1", part.trigger_id)
    assert store(outbox, "r2", part.trigger_id)[1] is False
    assert [entry.result_id for entry in outbox.due_live(after_seq=0, limit=9)] == ["r1"]


def test_two_threads_race_for_one_part_and_one_wins(outbox):
    part = outbox.accept(trigger())
    results, barrier = [], threading.Barrier(8)

    def race(number):
        barrier.wait()
        results.append(store(outbox, f"r{number}", part.trigger_id)[1])

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]
    assert outbox.depth() == 1


def test_a_repeat_while_open_waits_for_the_same_verdict(outbox):
    first = outbox.accept(trigger())
    assert outbox.accept(trigger()) == Repeat(first.trigger_id, None)


def test_a_repeat_makes_the_same_verdict_due_again_even_when_acknowledged(outbox):
    part = outbox.accept(trigger())
    seq, _ = store(outbox, "r1", part.trigger_id)
    outbox.mark_sent([seq], ack_timeout_s=2)
    assert outbox.acknowledge(["r1"]) == 1
    assert outbox.accept(trigger()) == Repeat(part.trigger_id, "r1")
    assert [entry.payload for entry in outbox.due_live(after_seq=0, limit=9)] == [b"r1"]
    assert outbox.depth() == 1


@pytest.mark.parametrize("other", [trigger(part_id="p2"), trigger(job_id="k"), trigger(part_id=None)])
def test_the_same_measurement_for_another_part_is_a_conflict(outbox, other):
    first = outbox.accept(trigger())
    answer = outbox.accept(other)
    assert isinstance(answer, Conflict)
    assert answer.trigger_id != first.trigger_id
    store(outbox, "conflict", answer.trigger_id)
    assert outbox.accept(other) == Repeat(answer.trigger_id, "conflict")
    assert outbox.accept(trigger()) == Repeat(first.trigger_id, None)


@pytest.mark.parametrize(("seconds", "kind"), [(29.999, Repeat), (30.0, Accepted)])
def test_the_window_ends_after_its_length(outbox, now, seconds, kind):
    outbox.accept(trigger(at_ns=now.monotonic_ns))
    now.pass_s(seconds)
    assert isinstance(outbox.accept(trigger(at_ns=now.monotonic_ns)), kind)


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_a_stepped_clock_changes_nothing(outbox, now, step_s):
    outbox.accept(trigger())
    now.wall_ns += step_s * 10**9
    assert isinstance(outbox.accept(trigger()), Repeat)
    now.pass_s(31)
    assert isinstance(outbox.accept(trigger()), Accepted)


@pytest.mark.parametrize(("seconds", "kind"), [(29, Repeat), (31, Accepted), (-3600, Repeat)])
def test_after_a_reboot_the_wall_clock_counts(open_outbox, now, seconds, kind):
    open_outbox().accept(trigger(at_ns=now.monotonic_ns))
    now.wall_ns += seconds * 10**9
    now.reboot("kernel-2")
    assert isinstance(open_outbox().accept(trigger()), kind)


def test_everything_is_there_after_a_restart(open_outbox):
    before = open_outbox()
    part = before.accept(trigger())
    before.accept(trigger("2"))
    seq, _ = store(before, "r1", part.trigger_id, mask_png=b"png")
    before.close()
    after = open_outbox()
    assert after.last_seq == seq
    assert after.depth() == 1
    assert [one.trigger.meas_id for one in after.open_triggers()] == ["2"]
    assert [(e.result_id, e.mask_png) for e in after.due_again(limit=9, up_to_seq=after.last_seq)] == [("r1", b"png")]
    assert after.next_seq() == seq + 1


def test_the_sequence_survives_that_everything_was_delivered_and_deleted(open_outbox, now):
    before = open_outbox()
    for number in range(5):
        store(before, f"r{number}")
    before.acknowledge([f"r{number}" for number in range(5)])
    now.pass_s(WINDOW_S + 1)
    before.acknowledge([])
    before.close()
    assert open_outbox().last_seq == 5


def test_live_and_backlog_are_apart(outbox):
    for number in range(6):
        store(outbox, f"r{number}")
    assert [e.result_id for e in outbox.due_live(after_seq=4, limit=9)] == ["r4", "r5"]
    assert [e.result_id for e in outbox.due_again(limit=3, up_to_seq=4)] == ["r0", "r1", "r2"]


def test_unacknowledged_verdicts_come_again_at_doubling_times(outbox, now):
    seq, _ = store(outbox, "r1")
    waits = []
    for _ in range(8):
        outbox.mark_sent([seq], ack_timeout_s=2)
        waited = 0
        while not outbox.due_again(limit=9, up_to_seq=0):
            now.pass_s(1)
            waited += 1
        waits.append(waited)
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


def test_what_was_sent_before_a_reboot_is_due_within_a_minute(open_outbox, now):
    now.monotonic_ns = 10**15
    before = open_outbox()
    seq, _ = store(before, "r1")
    before.mark_sent([seq], ack_timeout_s=2)
    before.close()
    now.reboot("kernel-2")
    assert [e.result_id for e in open_outbox().due_again(limit=9, up_to_seq=0)] == ["r1"]


def test_only_waiting_verdicts_count_as_acknowledged(outbox):
    send(outbox, "r1")
    assert outbox.acknowledge(["r1", "r1", "unknown"]) == 1
    assert outbox.acknowledge(["r1"]) == 0
    assert outbox.depth() == 0
    assert outbox.due_live(after_seq=0, limit=9) == []


def test_a_late_acknowledgement_does_not_swallow_the_answer_to_a_repeat(outbox):
    part = outbox.accept(trigger())
    seq, _ = send(outbox, "r1", part.trigger_id)
    outbox.accept(trigger())
    assert outbox.acknowledge(["r1"]) == 0
    assert [entry.seq for entry in outbox.due_live(after_seq=0, limit=9)] == [seq]
    outbox.mark_sent([seq], ack_timeout_s=2)
    assert outbox.acknowledge(["r1"]) == 1


def test_nothing_grows_without_bound(outbox, now, path):
    for number in range(200):
        part = outbox.accept(trigger(str(number), at_ns=now.monotonic_ns))
        send(outbox, f"r{number}", part.trigger_id)
        outbox.acknowledge([f"r{number}"])
        now.pass_s(1)
    assert rows(path, "verdicts") <= WINDOW_S + 2
    assert rows(path, "triggers") <= WINDOW_S + 2


def test_a_very_late_result_never_answers_a_later_part(outbox, now):
    first = outbox.accept(trigger(at_ns=now.monotonic_ns))
    send(outbox, "deadline", first.trigger_id)
    outbox.acknowledge(["deadline"])
    now.pass_s(WINDOW_S + 1)
    outbox.acknowledge([])
    second = outbox.accept(trigger("2", at_ns=now.monotonic_ns))
    assert store(outbox, "late", first.trigger_id)[1] is False
    assert [one.trigger_id for one in outbox.open_triggers()] == [second.trigger_id]


def test_age_never_removes_what_is_not_acknowledged_or_open(outbox, now):
    store(outbox, "r1")
    outbox.accept(trigger(at_ns=now.monotonic_ns))
    now.pass_s(10**6)
    for number in range(100):
        send(outbox, f"s{number}")
        outbox.acknowledge([f"s{number}"])
    assert [e.result_id for e in outbox.due_live(after_seq=0, limit=9)] == ["r1"]
    assert len(outbox.open_triggers()) == 1


def test_an_id_that_was_stored_is_refused_and_its_part_stays_open(outbox):
    store(outbox, "r1")
    part = outbox.accept(trigger())
    with pytest.raises(OutboxError):
        store(outbox, "r1", part.trigger_id)
    assert len(outbox.open_triggers()) == 1
    assert outbox.depth() == 1


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


@pytest.mark.parametrize("field", ["meas_id", "part_id", "job_id"])
def test_a_number_and_its_text_are_different_ids(outbox, field):
    first = outbox.accept(trigger(**{field: 41}))
    other = outbox.accept(trigger(**{field: "41"}))
    assert isinstance(other, Accepted if field == "meas_id" else Conflict)
    assert outbox.accept(trigger(**{field: 41})) == Repeat(first.trigger_id, None)
    assert outbox.accept(trigger(**{field: "41"})) == Repeat(other.trigger_id, None)


@pytest.mark.parametrize("value", [41, "41", 2**70, 'a"\u00fc'])
def test_the_journal_keeps_the_type_of_an_id_over_a_restart(open_outbox, value):
    before = open_outbox()
    before.accept(trigger(value, value, None))
    before.close()
    after = open_outbox()
    (part,) = after.open_triggers()
    ids = (part.trigger.meas_id, part.trigger.part_id, part.trigger.job_id)
    assert (ids, type(ids[0])) == ((value, value, None), type(value))
    assert after.accept(trigger(value, value, None)) == Repeat(part.trigger_id, None)


def test_a_row_from_before_ids_kept_their_type_is_read(outbox, path):
    outbox.accept(trigger())
    with sqlite3.connect(path) as database:
        database.execute("UPDATE triggers SET meas_id = 'm-1', part_id = 'true', job_id = '[1]'")
    (part,) = outbox.open_triggers()
    assert (part.trigger.meas_id, part.trigger.part_id, part.trigger.job_id) == ("m-1", "true", "[1]")


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
