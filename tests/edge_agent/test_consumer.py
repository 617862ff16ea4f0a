import json

import pytest

from edge_agent.consumer import Consumer
from engines.errors import MessageError

MS = 1_000_000


@pytest.fixture
def consumer():
    return Consumer(first_meas_id=7, recipe="bottle", timeout_ms=100)


def verdict(**changes):
    content = {
        "result_id": "r1",
        "meas_id": 7,
        "part_id": "p1",
        "recipe": "bottle",
        "verdict": "PASS",
        "reasons": [],
        "is_simulated": False,
        "is_historical": False,
    }
    return json.dumps({**content, **changes}).encode()


def test_a_pass_for_the_open_part_is_accepted(consumer):
    trigger = consumer.ask("p1", 0)
    assert (trigger.meas_id, trigger.recipe, trigger.expires_ms) == (7, "bottle", 100)
    received = consumer.take_verdict(verdict(), 20 * MS)
    assert (received.result.action, received.result.why) == ("accept", "PASS")
    assert received.result.round_trip_ms == 20
    assert consumer.ask("p2", 0).meas_id == 8


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"verdict": "FAIL"}, "FAIL"),
        ({"verdict": "INVALID", "reasons": ["no_frame"]}, "INVALID/no_frame"),
        ({"verdict": "pass"}, "pass"),
        ({"verdict": None}, "None"),
        ({"part_id": "p0"}, "part 'p0'"),
        ({"recipe": "nut"}, "recipe 'nut'"),
        ({"is_simulated": True}, "simulated"),
        ({"is_simulated": None}, "simulated"),
        ({"is_historical": True}, "historical"),
        ({"is_historical": "no"}, "historical"),
    ],
)
def test_everything_else_for_the_open_part_is_a_reject(consumer, changes, why):
    consumer.ask("p1", 0)
    received = consumer.take_verdict(verdict(**changes), MS)
    assert received.result.action == "reject"
    assert why in received.result.why


@pytest.mark.parametrize(
    "changes", [{"meas_id": 6}, {"meas_id": None}, {"meas_id": "7"}, {"meas_id": 7.0}, {"meas_id": [7]}]
)
def test_a_verdict_for_another_part_leaves_this_one_open_and_is_acknowledged(consumer, changes):
    consumer.ask("p1", 0)
    received = consumer.take_verdict(verdict(**changes), MS)
    assert (received.result_id, received.result) == ("r1", None)
    assert consumer.take_verdict(verdict(result_id="r2"), MS).result.action == "accept"


def test_the_previous_parts_verdict_never_decides_the_next(consumer):
    consumer.ask("p1", 0)
    assert consumer.check_timer(100 * MS).why == "timeout"
    consumer.ask("p2", 100 * MS)
    late = consumer.take_verdict(verdict(), 101 * MS)
    assert (late.is_new, late.result) == (True, None)


@pytest.mark.parametrize(("at_ms", "action"), [(99.9, "accept"), (100, "reject")])
def test_the_own_timer_decides_at_its_limit(consumer, at_ms, action):
    consumer.ask("p1", 0)
    assert consumer.take_verdict(verdict(), round(at_ms * MS)).result.action == action


def test_no_timer_runs_without_a_part(consumer):
    assert consumer.deadline_ns is None
    assert consumer.check_timer(10**18) is None


def test_a_second_copy_is_acknowledged_and_nothing_else(consumer):
    consumer.ask("p1", 0)
    consumer.take_verdict(verdict(), MS)
    again = consumer.take_verdict(verdict(is_historical=True), MS)
    assert (again.result_id, again.is_new, again.result) == ("r1", False, None)
    assert consumer.contradictions == 0


def test_a_second_verdict_for_one_part_is_a_contradiction(consumer):
    consumer.ask("p1", 0)
    consumer.take_verdict(verdict(), MS)
    assert consumer.take_verdict(verdict(result_id="r2", verdict="FAIL"), MS).result is None
    assert consumer.contradictions == 1


def test_simulated_verdicts_pass_only_when_asked_for():
    consumer = Consumer(first_meas_id=7, timeout_ms=100, accepts_simulated=True)
    consumer.ask("p1", 0)
    assert consumer.take_verdict(verdict(is_simulated=True, recipe="any"), MS).result.action == "accept"


def test_one_part_at_a_time(consumer):
    consumer.ask("p1", 0)
    with pytest.raises(MessageError, match="still open"):
        consumer.ask("p2", 0)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"result_id": 5}'])
def test_what_is_no_verdict_changes_nothing(consumer, payload):
    consumer.ask("p1", 0)
    with pytest.raises(MessageError):
        consumer.take_verdict(payload, MS)
    assert consumer.take_verdict(verdict(), MS).result.action == "accept"


def test_memory_is_bounded(consumer):
    for number in range(20_005):
        consumer.take_verdict(verdict(result_id=str(number), meas_id="x"), 0)
    assert len(consumer._seen) == 10_000
