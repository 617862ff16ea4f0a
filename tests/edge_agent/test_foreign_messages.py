"""Whatever somebody publishes on a topic is understood or refused; it never crashes whoever reads it."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.audit_log import AuditLog
from edge_agent.command_intake import MOST_WAITING, CommandIntake
from edge_agent.consumer import Consumer
from edge_agent.link import MqttLink
from edge_agent.messages import Command, encode_ack, encode_reply, encode_state, parse_ack, parse_command
from edge_agent.mqtt import BrokerAddress, Message
from edge_agent.topics import Topics
from edge_agent.watch_lines import part_line, printable, verdict_line
from engines.errors import MessageError

TOPICS = Topics("edge/v1", "plant", "cell")
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["\ud800", "\x1b[2J"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
raw = (
    st.binary(max_size=200)
    | st.text(max_size=80).map(str.encode)
    | values.map(lambda value: json.dumps(value).encode())
)


def objects(**likely):
    """JSON with these keys, each often as it should be and often anything."""
    content = {key: values | strategy for key, strategy in likely.items()}
    return raw | st.fixed_dictionaries({}, optional=content).map(lambda content: json.dumps(content).encode())


verdicts = objects(
    result_id=st.text("r-1", max_size=5) | st.just("ü"),
    meas_id=st.sampled_from([7, 7.0, "7", True]),
    part_id=st.just("p1"),
    recipe=st.just("bottle"),
    verdict=st.sampled_from(["PASS", "FAIL", "INVALID"]),
    reasons=st.lists(st.just("no_frame"), max_size=2),
    is_simulated=st.booleans(),
    is_historical=st.booleans(),
)


@settings(max_examples=300)
@given(verdicts)
def test_a_verdict_is_refused_or_can_be_acknowledged_and_shown(payload):
    consumer = Consumer(first_meas_id=7, recipe="bottle", timeout_ms=100)
    consumer.take_health(b'{"boot_id": "b", "life": 1}', 0)
    consumer.ask("p1", 0)
    try:
        received = consumer.take_verdict(payload, 1)
    except MessageError:
        assert consumer.deadline_ns is not None
        return
    assert parse_ack(encode_ack("plc", [received.result_id])).result_ids == (received.result_id,)
    assert printable(verdict_line(received.content)).encode().decode().isprintable()
    if received.result is not None:
        assert part_line(received.result).isprintable()
        assert (received.result.action == "accept") == (received.result.why == "PASS")
        assert received.result.action == "reject" or received.content["verdict"] == "PASS"


@settings(max_examples=300)
@given(st.lists(objects(boot_id=st.sampled_from(["a", "b"]), life=st.integers(0, 3)), max_size=5))
def test_signs_of_life_are_refused_or_keep_the_station_alive_for_three_seconds(payloads):
    consumer = Consumer(first_meas_id=7, timeout_ms=100)
    for payload in payloads:
        with contextlib.suppress(MessageError):
            consumer.take_health(payload, 0)
    assert not consumer.is_alive(3_000_000_000)


commands = objects(
    command=st.sampled_from(["reload", "resume", "dance"]), correlation_id=st.integers(0, 3) | st.text(max_size=3)
)


@settings(max_examples=300)
@given(st.lists(commands, max_size=MOST_WAITING + 4))
def test_every_command_that_is_understood_comes_out_once_or_is_refused(payloads):
    refused, woken, understood = [], [], 0
    intake = CommandIntake(lambda: woken.append(1), refused.append)
    for payload in payloads:
        with contextlib.suppress(MessageError):
            intake.take(payload)
            understood += 1
    obeyed = []
    while found := intake.next_commands():
        assert len({command.name for command in found}) == 1
        obeyed += found
    assert len(obeyed) + len(refused) == understood
    assert len(woken) == len(obeyed)
    for command in obeyed:
        reply = json.loads(encode_reply(command))
        assert (reply["command"], reply["correlation_id"]) == (command.name, command.correlation_id)


@settings(max_examples=300)
@given(commands)
def test_a_command_is_refused_or_a_text_with_an_id(payload):
    with contextlib.suppress(MessageError):
        command = parse_command(payload)
        assert isinstance(command.name, str)
        assert type(command.correlation_id) in {str, int, type(None)}


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.lists(raw, max_size=5).map(b"\n".join), command=st.builds(Command, st.just("reload"), st.integers()))
def test_an_audit_log_with_anything_in_it_still_works(tmp_path, content, command):
    (tmp_path / "audit.jsonl").write_bytes(content)
    log = AuditLog(tmp_path)
    assert log.answer_to(command) is None


@settings(max_examples=200)
@given(st.lists(raw, max_size=3))
def test_a_state_of_somebody_else_is_always_corrected(payloads):
    own = encode_state("ready", "boot")
    link = MqttLink(BrokerAddress("127.0.0.1", 1), TOPICS, "boot", state=own)
    link.set_state(own)
    for payload in [*payloads, own]:
        link._watch_state(Message(TOPICS.state, payload, retained=False, received_ns=0))
    assert link.foreign_states == sum(payload != own for payload in payloads)
    assert link._is_state_due


@pytest.mark.parametrize(
    ("text", "shown"), [("müsli", "müsli"), ("\x1b[2J", "\\x1b[2J"), ("\ud800", "\\ud800"), ("a\nb", "a\\nb")]
)
def test_what_a_terminal_would_obey_is_shown_as_it_is_written(text, shown):
    assert printable(text) == shown
