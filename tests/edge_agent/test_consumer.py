import json

import pytest

from edge_agent.consumer import Consumer
from engines.errors import MessageError

MS = 1_000_000


@pytest.fixture
def consumer():
    made = Consumer(first_meas_id=7, recipe="bottle", timeout_ms=100)
    made.take_health(health(1), 0)
    return made


def health(life, boot_id="boot-1"):
    return json.dumps({"life": life, "boot_id": boot_id}).encode()


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


@pytest.mark.parametrize(("at_ms", "action"), [(2999, "accept"), (3000, "reject")])
def test_a_station_without_a_sign_of_life_for_three_seconds_passes_nothing(consumer, at_ms, action):
    consumer.ask("p1", (at_ms - 10) * MS)
    result = consumer.take_verdict(verdict(), at_ms * MS).result
    assert (result.action, result.why) == (action, "PASS" if action == "accept" else "no sign of life")


def test_an_open_part_does_not_wait_for_its_own_timer_when_life_ends(consumer):
    consumer = Consumer(first_meas_id=7, timeout_ms=60_000)
    consumer.take_health(health(1), 0)
    consumer.ask("p1", MS)
    assert consumer.deadline_ns == 3000 * MS
    assert consumer.check_timer(2999 * MS) is None
    assert consumer.check_timer(3000 * MS).why == "no sign of life"


def test_a_station_that_was_never_heard_passes_nothing():
    consumer = Consumer(first_meas_id=7, timeout_ms=100)
    consumer.ask("p1", MS)
    assert consumer.take_verdict(verdict(), 2 * MS).result.why == "no sign of life"


@pytest.mark.parametrize(("again", "is_alive"), [(health(1), False), (health(2), True), (health(1, "boot-2"), True)])
def test_only_a_life_counter_that_changes_is_a_sign_of_life(consumer, again, is_alive):
    consumer.take_health(again, 2000 * MS)
    assert consumer.is_alive(4000 * MS) is is_alive


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b'{"life": 2}',
        b'{"life": true, "boot_id": "b"}',
        b'{"life": 2.0, "boot_id": "b"}',
        b"9" * 20_000,
    ],
)
def test_what_is_no_sign_of_life_changes_nothing(consumer, payload):
    with pytest.raises(MessageError):
        consumer.take_health(payload, 2000 * MS)
    assert not consumer.is_alive(3000 * MS)


def test_after_a_new_sign_of_life_parts_pass_again(consumer):
    consumer.ask("p1", 5000 * MS)
    assert consumer.check_timer(5000 * MS).why == "no sign of life"
    consumer.take_health(health(2), 6000 * MS)
    consumer.ask("p1", 6001 * MS)
    assert consumer.take_verdict(verdict(meas_id=8), 6002 * MS).result.action == "accept"


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
    consumer.take_health(health(1), 0)
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
