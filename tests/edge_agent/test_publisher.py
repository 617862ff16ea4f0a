import json
import time
from dataclasses import dataclass, field

import pytest
from message_side import wait_until

from edge_agent.messages import encode_ack
from edge_agent.outbox import Outbox
from edge_agent.outbox_records import Clock
from edge_agent.publisher import OutboxPublisher
from engines.errors import OutboxError, PublishError


@dataclass(frozen=True)
class FakeReceipt:
    generation: int
    mid: int


@dataclass
class FakeLink:
    """Takes `room` messages, then refuses as a full or lost connection does."""

    is_live: bool = True
    generation: int = 1
    room: int = 10**9
    bug: Exception | None = None
    sent: list = field(default_factory=list)

    def publish(self, topic, payload, *, qos=1, retain=False):
        assert (qos, retain) == (1, False)
        if self.bug is not None:
            raise self.bug
        if not self.is_live or len(self.sent) >= self.room:
            raise PublishError("no room.", fix="Later.")
        self.sent.append((topic.rsplit("cell-1/", 1)[1], payload))
        return FakeReceipt(self.generation, len(self.sent))

    def ids(self):
        return [json.loads(payload)["id"] for topic, payload in self.sent if topic == "verdict"]

    def historical(self):
        return [json.loads(payload)["is_historical"] for topic, payload in self.sent if topic == "verdict"]


class Bench:
    """A publisher that is stepped by hand."""

    def __init__(self, path, topics, ack="consumer"):
        self.now_s, self.later_ns = 100.0, 0
        self.is_synced, self.aged = True, []
        clock = Clock(monotonic_ns=lambda: time.monotonic_ns() + self.later_ns)
        self.outbox = Outbox(path, dedupe_window_s=60, clock=clock)
        self.link = FakeLink()
        self.publisher = OutboxPublisher(
            self.outbox,
            self.link,
            topics,
            ack=ack,
            consumer="plc",
            ack_timeout_s=2.0,
            live_for_s=5.0,
            keep_days=30,
            on_aged=self.aged.append,
            trusts_wall_clock=lambda: self.is_synced,
            backlog_per_s=10.0,
            clock=lambda: self.now_s,
        )

    def store(self, *names, mask_png=None):
        for name in names:
            self.outbox.store(
                seq=self.outbox.next_seq(),
                result_id=name,
                boot_id="b",
                payload=json.dumps({"id": name, "is_historical": False}).encode(),
                mask_png=mask_png,
            )


@pytest.fixture
def make_bench(tmp_path, topics):
    made = []

    def make(**options):
        made.append(Bench(tmp_path / "outbox.sqlite3", topics, **options))
        return made[-1]

    yield make
    for bench in made:
        bench.outbox.close()


@pytest.fixture
def bench(make_bench):
    return make_bench()


def test_nothing_is_sent_before_the_link_says_it_is_live(bench):
    bench.store("a")
    bench.publisher.run_once()
    assert bench.link.sent == []


def test_a_mask_goes_before_its_verdict(bench):
    bench.publisher.on_live()
    bench.store("a", mask_png=b"png")
    bench.publisher.run_once()
    assert [topic for topic, _ in bench.link.sent] == ["mask/a", "verdict"]


def test_live_goes_before_the_backlog_and_only_that_is_historical(bench):
    bench.store("old1", "old2")
    bench.publisher.on_live()
    bench.store("new1", "new2")
    bench.publisher.run_once()
    bench.now_s += 1
    bench.publisher.run_once()
    assert bench.link.ids() == ["new1", "new2", "old1", "old2"]
    assert bench.link.historical() == [False, False, True, True]


def test_what_is_older_than_a_part_can_wait_is_historical_in_the_same_connection_too(bench):
    bench.publisher.on_live()
    bench.store("a")
    bench.later_ns += 6 * 10**9
    bench.publisher.run_once()
    assert (bench.link.ids(), bench.link.historical()) == (["a"], [True])


def test_a_damaged_verdict_keeps_back_none_of_the_others(bench):
    bench.outbox.store(seq=bench.outbox.next_seq(), result_id="damaged", boot_id="b", payload=b"\xff{")
    bench.store("old")
    bench.publisher.on_live()
    bench.now_s += 1
    bench.publisher.run_once()
    assert bench.link.ids() == ["old"]


def test_what_an_earlier_boot_decided_is_historical(make_bench):
    before = make_bench()
    before.store("old")
    before.outbox.close()
    after = make_bench()
    after.publisher.on_live()
    after.now_s += 1
    after.publisher.run_once()
    assert (after.link.ids(), after.link.historical()) == (["old"], [True])


def test_the_backlog_is_limited_in_rate(bench):
    bench.store(*(f"old{number}" for number in range(50)))
    bench.publisher.on_live()
    for _ in range(100):
        bench.now_s += 0.01
        bench.publisher.run_once()
    assert 9 <= len(bench.link.sent) <= 11


def test_a_live_verdict_does_not_wait_for_the_backlog(bench):
    bench.store(*(f"old{number}" for number in range(50)))
    bench.publisher.on_live()
    bench.now_s += 1
    bench.publisher.run_once()
    bench.store("live")
    before = len(bench.link.sent)
    bench.publisher.run_once()
    assert bench.link.ids()[before] == "live"


def test_only_the_named_consumer_empties_the_outbox(bench):
    bench.publisher.on_live()
    bench.store("a", "b")
    bench.publisher.run_once()
    bench.publisher.on_ack(encode_ack("somebody", ["a", "b"]))
    bench.publisher.run_once()
    assert bench.outbox.depth() == 2
    bench.publisher.on_ack(encode_ack("plc", ["a", "a", "unknown"]))
    bench.publisher.run_once()
    assert bench.outbox.depth() == 1


def test_with_consumer_acks_a_puback_is_not_delivery(bench):
    bench.publisher.on_live()
    bench.store("a")
    bench.publisher.run_once()
    bench.publisher.on_published(1, 1)
    bench.publisher.run_once()
    assert bench.outbox.depth() == 1


def test_in_the_weak_mode_the_verdicts_own_puback_empties_the_outbox(make_bench):
    bench = make_bench(ack="broker")
    bench.publisher.on_live()
    bench.store("a", mask_png=b"png")
    bench.publisher.run_once()
    bench.publisher.on_ack(encode_ack("plc", ["a"]))
    bench.publisher.on_published(1, 1)
    bench.publisher.run_once()
    assert bench.outbox.depth() == 1
    bench.publisher.on_published(1, 2)
    bench.publisher.run_once()
    assert bench.outbox.depth() == 0


def test_a_puback_of_an_old_connection_does_not_count(make_bench):
    bench = make_bench(ack="broker")
    bench.publisher.on_live()
    bench.store("a")
    bench.publisher.run_once()
    bench.link.generation = 2
    bench.publisher.on_live()
    bench.publisher.on_published(2, 1)
    bench.publisher.run_once()
    assert bench.outbox.depth() == 1


def test_what_the_link_refuses_stays_and_goes_later(bench):
    bench.publisher.on_live()
    bench.store("a", "b", "c")
    bench.link.room = 2
    bench.publisher.run_once()
    bench.link.room = 10
    bench.publisher.run_once()
    assert bench.link.ids() == ["a", "b", "c"]


def test_what_was_live_becomes_historical_with_the_next_connection(bench):
    bench.publisher.on_live()
    bench.link.room = 0
    bench.store("a")
    bench.publisher.run_once()
    bench.link.room, bench.link.generation = 10, 2
    bench.publisher.on_live()
    bench.now_s += 1
    bench.publisher.run_once()
    assert (bench.link.ids(), bench.link.historical()) == (["a"], [True])


def test_an_outbox_that_fails_is_told_and_the_thread_goes_on(bench, caplog):
    bench.publisher.start()
    bench.publisher.on_live()
    bench.outbox.close()
    wait_until(lambda: bench.publisher.error is not None)
    beats = bench.publisher.beats
    wait_until(lambda: bench.publisher.beats > beats + 1)
    bench.publisher.stop()
    assert caplog.text.count("publisher failed") == 1
    assert isinstance(bench.publisher.error, OutboxError)


def test_a_bug_neither_ends_the_thread_nor_stays_unseen(bench, caplog):
    bench.link.bug = KeyError("nobody thought of it")
    bench.publisher.start()
    bench.publisher.on_live()
    bench.store("a")
    bench.publisher.wake()
    wait_until(lambda: bench.publisher.error is not None)
    error = bench.publisher.error
    assert isinstance(error, PublishError)
    assert "nobody thought of it" in error.problem
    assert error.fix
    beats = bench.publisher.beats
    wait_until(lambda: bench.publisher.beats > beats + 1)
    bench.link.bug = None
    wait_until(lambda: bench.link.ids() == ["a"] and bench.publisher.error is None)
    bench.publisher.stop()
    assert caplog.text.count("publisher failed") == 1
    assert caplog.text.count("Traceback") == 1


def test_a_failing_publisher_does_not_spin_when_it_is_woken(bench):
    bench.link.bug = KeyError("bug")
    bench.store("a")
    bench.publisher.on_live()
    bench.store("b")
    bench.publisher.start()
    wait_until(lambda: bench.publisher.error is not None)
    before, until = bench.publisher.beats, time.monotonic() + 0.4
    while time.monotonic() < until:
        bench.publisher.wake()
        time.sleep(0.001)
    bench.publisher.stop()
    assert bench.publisher.beats - before <= 4


def test_flush_waits_for_what_was_stored(bench):
    bench.publisher.start()
    bench.publisher.on_live()
    bench.store("a")
    assert bench.publisher.flush(5.0)
    bench.publisher.stop()
    assert bench.link.ids() == ["a"]


def test_only_age_removes_what_nobody_acknowledged_and_only_by_a_clock_that_is_set(bench):
    bench.store("old", "older")
    bench.later_ns += 31 * 86_400 * 10**9
    bench.store("new")
    bench.is_synced = False
    bench.publisher.remove_aged()
    assert (bench.outbox.depth(), bench.aged) == (3, [])
    bench.is_synced = True
    bench.publisher.remove_aged()
    assert (bench.outbox.depth(), bench.aged) == (1, [2])
    bench.later_ns += 31 * 86_400 * 10**9
    bench.publisher.remove_aged()
    assert bench.aged == [2], "once a minute is enough"


def test_acknowledgements_received_at_the_end_are_stored(bench):
    bench.publisher.on_live()
    bench.store("a")
    bench.publisher.run_once()
    bench.publisher.start()
    bench.publisher.on_ack(encode_ack("plc", ["a"]))
    bench.publisher.stop()
    assert bench.outbox.depth() == 0
