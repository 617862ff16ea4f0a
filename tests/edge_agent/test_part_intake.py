import json

import pytest

from edge_agent.inspection import REASONS, Trigger
from edge_agent.outbox import Outbox
from edge_agent.outbox_records import Clock, OpenTrigger
from edge_agent.part_intake import MOST_WAITING, PartIntake
from engines.errors import MessageError, OutboxError


class SeenTriggers:
    """What the capture is told of triggers, by their time of receipt."""

    def __init__(self):
        self.told = []

    def expect(self, received_ns):
        self.told.append(("expect", received_ns))

    def forget(self, received_ns):
        self.told.append(("forget", received_ns))

    def refused(self, received_ns):
        self.told.append(("refused", received_ns))


class Bench:
    """An intake on a real journal that counts whom it calls."""

    def __init__(self, path):
        self.outbox = Outbox(path, dedupe_window_s=60, clock=Clock(monotonic_ns=lambda: 10))
        self.resends = 0
        self.begun, self.refused, self.surplus = [], [], []
        self.room = 1000
        self.in_transaction = lambda: None
        self.capture = SeenTriggers()
        self.intake = PartIntake(
            self.outbox,
            self.capture,
            begun=self.begin,
            resend=self.resend,
            refuse=lambda *refused: self.refused.append(refused),
            has_time=self.has_time,
            overload=self.surplus.append,
        )

    def begin(self, part):
        assert self.intake.has_parts
        self.begun.append(part)
        self.in_transaction()

    def has_time(self, _part, waiting):
        self.in_transaction()
        return waiting < self.room

    def stop_writing(self):
        self.outbox._connection.execute("PRAGMA query_only = 1")

    def resend(self):
        self.resends += 1

    def take(self, received_ns=5, **content):
        self.capture.told.clear()
        self.intake.take(json.dumps(content).encode(), received_ns)

    def parts(self):
        taken = []
        while self.intake.has_parts:
            taken.append(self.intake.next_part())
        return taken


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "outbox.sqlite3")
    yield bench
    bench.outbox.close()


def test_a_new_part_is_journalled_queued_and_wakes(bench):
    bench.take(meas_id=41, part_id="p")
    bench.take(meas_id=42)
    parts = bench.parts()
    assert [(part.trigger, reason) for part, reason in parts] == [
        (Trigger(41, "p", None, None, None, 5), None),
        (Trigger(42, None, None, None, None, 5), None),
    ]
    assert bench.outbox.open_triggers() == [part for part, _ in parts]
    assert bench.begun == [part for part, _ in parts]
    assert (bench.resends, bench.refused) == (0, [])
    assert bench.intake.next_part() is None


def test_a_repeat_is_not_queued_again_but_sent_again(bench):
    bench.take(meas_id=41)
    bench.take(meas_id=41)
    assert len(bench.parts()) == 1
    assert (len(bench.begun), bench.resends) == (1, 1)
    assert bench.capture.told == [("expect", 5), ("forget", 5)]


@pytest.mark.parametrize("other", [{"meas_id": 41, "part_id": "q"}, {"meas_id": 41, "part_id": 1}, {"meas_id": 41}])
def test_another_part_with_the_same_id_is_a_conflict(bench, other):
    bench.take(meas_id=41, part_id="1")
    bench.take(**other)
    assert [reason for _, reason in bench.parts()] == [None, "id_conflict"]
    assert len(bench.outbox.open_triggers()) == 2


def test_what_cannot_be_journalled_is_refused_at_once(bench):
    bench.outbox.close()
    bench.take(meas_id=41, part_id="p")
    ((part, problem),) = bench.refused
    assert part == OpenTrigger(0, Trigger(41, "p", None, None, None, 5))
    assert isinstance(problem, OutboxError)
    assert bench.capture.told == [("expect", 5), ("refused", 5)]
    assert not bench.intake.has_parts


def test_what_cannot_be_journalled_after_it_was_begun_is_refused_under_its_number(bench):
    bench.in_transaction = bench.stop_writing
    bench.take(meas_id=41)
    ((part, _),) = bench.refused
    assert [part] == bench.begun
    assert part.trigger_id


def test_a_part_too_many_that_cannot_be_journalled_leaves_nothing_to_the_next_one(bench):
    bench.take(meas_id=41)
    bench.room, bench.in_transaction = 1, bench.stop_writing
    bench.take(meas_id=42)
    assert [part.trigger.meas_id for part, _ in bench.refused] == [42]
    bench.room, bench.in_transaction = 1000, lambda: None
    bench.outbox._connection.execute("PRAGMA query_only = 0")
    bench.take(meas_id=43)
    assert [part.trigger.meas_id for part, _ in bench.parts()] == [41, 43]
    assert bench.surplus == []
    assert bench.capture.told == [("expect", 5)]


@pytest.mark.parametrize("bad", [{"expires_ms": 2.5}, {"recipe": "r" * 300}, {"job_id": []}])
def test_a_bad_trigger_is_journalled_and_queued_to_be_refused(bench, bad, caplog):
    bench.take(meas_id=41, part_id="p", **bad)
    bench.take(meas_id=41, part_id="p", **bad)
    ((part, reason),) = bench.parts()
    assert (part.trigger.meas_id, part.trigger.part_id, reason) == (41, "p", "bad_trigger")
    assert reason in REASONS
    assert [one.trigger_id for one in bench.outbox.open_triggers()] == [part.trigger_id]
    assert (bench.begun, bench.resends) == ([part], 1)
    assert "Send a" in caplog.text


def test_a_bad_trigger_never_gets_the_verdict_of_a_part_without_that_id(bench):
    bench.take(meas_id=41)
    bench.take(meas_id=41, part_id=[])
    assert [reason for _, reason in bench.parts()] == [None, "bad_trigger"]
    assert bench.resends == 0


def test_a_bad_trigger_that_cannot_be_journalled_is_refused_too(bench):
    bench.outbox.close()
    bench.take(meas_id=41, expires_ms=2.5)
    assert [part.trigger.meas_id for part, _ in bench.refused] == [41]


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"meas_id": true}', b'{"meas_id": 1.5}'])
def test_without_a_readable_id_nothing_is_queued(bench, payload):
    with pytest.raises(MessageError):
        bench.intake.take(payload, 5)
    assert (bench.parts(), bench.outbox.open_triggers(), bench.refused) == ([], [], [])
    assert bench.capture.told == [("expect", 5), ("refused", 5)]


@pytest.mark.parametrize(("room", "most"), [(1000, MOST_WAITING), (7, 7), (0, 1)])
def test_what_is_more_than_can_wait_is_refused_at_once_and_journalled(bench, room, most):
    bench.room = room
    for number in range(most + 3):
        bench.take(meas_id=str(number))
    surplus = [f"{most + more}" for more in range(3)]
    assert [part.trigger.meas_id for part in bench.surplus] == surplus
    assert [part.trigger.meas_id for part, _ in bench.parts()] == [str(n) for n in range(most)]
    assert len(bench.begun) == most, "nobody starts the clock of a part that has its answer"
    assert [part.trigger.meas_id for part in bench.outbox.open_triggers()][-3:] == surplus
    assert bench.capture.told == [("expect", 5), ("refused", 5)], "its frame waits for nobody"
    bench.take(meas_id="room again")
    assert len(bench.surplus) == 3
    assert bench.capture.told == [("expect", 5)]
