import sqlite3
import threading

import pytest
from outbox_steps import WINDOW_S, send, store, trigger

from edge_agent.outbox_records import Accepted, Conflict, Repeat
from engines.errors import OutboxError


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
