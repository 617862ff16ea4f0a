"""The schemas in configs/ are true: of what a running agent sends, of what it understands, and of each other."""

import json
import math
import shutil
from dataclasses import replace
from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from message_schemas import SCHEMAS, mistakes, validator
from message_side import wait_until
from test_messages import INSPECTION, TOPICS

from edge_agent.command_intake import RELOAD, RESUME
from edge_agent.ids import uuid7
from edge_agent.inspection import REASONS, Defect, Trigger, Verdict
from edge_agent.masks import EncodedMask, encode_mask
from edge_agent.messages import (
    MAX_DEFECTS,
    MAX_EXPIRES_MS,
    MAX_ID_BYTES,
    State,
    encode_ack,
    encode_command,
    encode_health,
    encode_reply,
    encode_state,
    encode_trigger,
    encode_verdict,
    mark_historical,
    parse_ack,
    parse_command,
    parse_trigger,
)
from edge_agent.mqtt import BrokerAddress, MqttClient
from edge_agent.topics import Topics
from engines.errors import MessageError


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name):
    Draft202012Validator.check_schema(SCHEMAS[name])


def test_names_and_limits_are_those_of_the_program():
    shared = SCHEMAS["common"]["$defs"]
    assert shared["invalid_reason"]["enum"] == list(REASONS)
    assert shared["state_name"]["enum"] == list(get_args(State))
    assert shared["id"]["maxLength"] == MAX_ID_BYTES
    assert SCHEMAS["trigger"]["properties"]["expires_ms"]["maximum"] == MAX_EXPIRES_MS
    assert SCHEMAS["verdict"]["properties"]["verdict"]["enum"] == list(get_args(Verdict))
    assert SCHEMAS["verdict"]["properties"]["defects"]["maxItems"] == MAX_DEFECTS
    assert {RELOAD, RESUME} <= set(SCHEMAS["command"]["properties"]["command"]["enum"])


@pytest.mark.parametrize("name", ["state", "verdict", "reply", "health"])
def test_what_the_agent_sends_has_no_other_keys(name):
    def objects(part):
        if isinstance(part, dict):
            if "properties" in part and "type" in part:
                yield part
            for value in part.values():
                yield from objects(value)
        elif isinstance(part, list):
            for value in part:
                yield from objects(value)

    assert all(part["additionalProperties"] is False for part in objects(SCHEMAS[name]))


# --- what a running agent sends -------------------------------------------------------------------------------------


@pytest.fixture
def frames(tmp_path, good_frames_folder):
    """A good frame, and one with a black bar."""
    folder = tmp_path / "frames"
    folder.mkdir()
    shutil.copy(next(iter(sorted(good_frames_folder.glob("*.png")))), folder / "0.png")
    frame = cv2.imread(str(folder / "0.png"))
    frame[30:46, 30:50] = 0
    cv2.imwrite(str(folder / "1.png"), frame)
    return folder


@pytest.fixture
def observed(fitted_recipe, frames, start_agent, mosquitto):
    """Everything that goes over the broker in an agent's life, as (topic, content)."""
    messages = []
    observer = MqttClient(BrokerAddress("127.0.0.1", mosquitto.port), "observer", {"edge/v1/#": messages.append})
    observer.start()
    assert observer.live.wait(10)
    station, plc = start_agent(fitted_recipe, frames)
    plc.wait_for_state("ready")
    assert [plc.ask(str(n), part_id=n, job_id="j")["verdict"] for n in range(2)] == ["PASS", "FAIL"]
    plc.ask("wrong", recipe="another")
    plc.ask("bad", part_id=[])
    for command in ("reload", "resume", "dance"):
        plc.command(command, command)
    wait_until(lambda: any(message.topic.endswith("/health") for message in messages))
    station.kill()
    plc.wait_for_state("offline")
    station.start()
    plc.wait_for_state("ready")
    plc.ask("last")
    assert station.stop() == 0
    plc.wait_for_state("stopped")
    observer.stop()
    return [(message.topic, json.loads(message.payload)) for message in messages]


def test_every_message_of_a_running_agent_is_as_its_schema_says(observed):
    base = Topics("edge/v1", "test", "cell").base
    kinds = {topic.removeprefix(f"{base}/") for topic, _ in observed}
    assert kinds == {"state", "trigger", "verdict", "ack", "health", "command", "reply"}
    meant_to_be_wrong = (f"{base}/command", "dance"), (f"{base}/trigger", "bad")
    wrong = [
        (topic, content, found)
        for topic, content in observed
        if (topic, content.get("command", content.get("meas_id"))) not in meant_to_be_wrong
        if (found := mistakes(topic.removeprefix(f"{base}/"), content))
    ]
    assert wrong == []
    seen = {content["state"] for topic, content in observed if topic.endswith("/state")}
    # The states before are seen or not: the camera may be open before the first message is out.
    assert {"ready", "offline", "stopped"} <= seen
    reasons = {tuple(content["reasons"]) for topic, content in observed if topic.endswith("/verdict")}
    assert {(), ("wrong_recipe",), ("bad_trigger",)} <= reasons


# --- what the encoders can say at all -------------------------------------------------------------------------------

texts = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=32)
ids = texts | st.integers(-(10**12), 10**30)
figures = st.none() | st.floats(0)
defects = st.lists(
    st.builds(Defect, st.tuples(*[st.integers(0, 9999)] * 4), st.integers(0, 10**8), st.floats()), max_size=20
)
masks = st.one_of(
    st.none(),
    st.just(encode_mask(np.eye(8, dtype=bool), (16, 16))),
    st.just(EncodedMask("png", (16, 16), b"png")),
    st.integers(0, 4000).map(lambda size: EncodedMask("coco_rle", (1, 1), b"1" + b"0" * size)),
)


@settings(max_examples=150)
@given(
    st.builds(Trigger, ids, st.none() | st.just("") | ids, st.none() | ids, st.none(), st.none(), st.just(0)),
    st.sampled_from(get_args(Verdict)),
    st.sampled_from(list(REASONS)),
    figures,
    defects,
    masks,
)
def test_every_verdict_that_can_be_encoded_is_as_the_schema_says(trigger, verdict, reason, figure, found, mask):
    is_invalid = verdict == "INVALID"
    inspection = replace(
        INSPECTION,
        trigger=trigger,
        verdict=verdict,
        reasons=(reason,) if is_invalid else (),
        score=figure,
        limit=figure,
        latency_ms=figure or 0.0,
        defects=tuple(found),
        result_id=uuid7(),
    )
    try:
        payload = encode_verdict(inspection, None if is_invalid else mask, TOPICS).payload
    except MessageError:
        return
    for content in (json.loads(payload), json.loads(mark_historical(payload))):
        assert mistakes("verdict", content) == mistakes("late", content) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "pass"},
        {"verdict": "INVALID", "reasons": []},
        {"verdict": "PASS", "reasons": ["no_frame"]},
        {"verdict": "INVALID", "reasons": ["bored"]},
        {"result_id": "1"},
        {"schema": 2},
        {"meas_id": 1.5},
        {"extra": 1},
        {"is_simulated": None},
        {"decided_at": "2026-01-01 00:00:00"},
        {"mask": {"encoding": "png", "size_wh": [1, 1], "data": "x"}},
        {"defects": [{}] * 17},
    ],
)
def test_a_wrong_verdict_is_not(changes):
    content = json.loads(encode_verdict(INSPECTION, None, TOPICS).payload)
    assert mistakes("verdict", content) == []
    assert mistakes("verdict", {**content, **changes})


@pytest.mark.parametrize("missing", SCHEMAS["verdict"]["required"])
def test_a_verdict_lacks_nothing(missing):
    content = json.loads(encode_verdict(INSPECTION, None, TOPICS).payload)
    del content[missing]
    assert mistakes("verdict", content)


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("trigger", encode_trigger(Trigger("1", 2, None, "bottle", 500, 0))),
        ("ack", encode_ack("plc", ["a"])),
        ("command", encode_command("reload")),
        ("reply", encode_reply(parse_command(encode_command("x", 1)), problem="no.", threshold_rev="r0001")),
        ("state", encode_state("offline", INSPECTION.boot_id)),
        (
            "health",
            encode_health(
                1,
                INSPECTION.boot_id,
                "ready",
                reasons_now=["drift_score"],
                outbox_depth=0,
                verdicts={"PASS": 0, "FAIL": 0, "INVALID": 2},
                reasons={"no_frame": 2},
                latency_ms={"p50": None, "p99": None},
                drift={"score": 0.5},
                temperatures_c={"cpu": 41.5},
                throttled=None,
                frames={"dropped": 0, "failed": 0, "collecting": {"wanted": 9, "taken": 2}},
            ),
        ),
    ],
)
def test_what_the_other_encoders_say_is_as_the_schema_says(name, payload):
    content = json.loads(payload)
    assert mistakes(name, content) == []
    for key in SCHEMAS[name]["required"]:
        assert mistakes(name, {other: value for other, value in content.items() if other != key})


# --- what the parsers understand ------------------------------------------------------------------------------------

# A schema counts characters where the parser counts bytes, knows no printable characters beyond the control ones, and
# takes 1.0 for a whole number: such ids are only described there.
sayable = st.characters(codec="ascii") | st.sampled_from("äß€中")
id_values = st.one_of(
    st.text(sayable, max_size=20),
    st.text("x", min_size=120, max_size=135),
    st.integers(),
    st.sampled_from([10**127, 10**129, -(10**126), -(10**128), True, None, [], {}, 1.5, "a\n", "\n", "\u0085"]),
)
expiries = st.one_of(
    st.integers(-2, 2), st.integers(MAX_EXPIRES_MS - 2, MAX_EXPIRES_MS + 2), st.floats(allow_nan=False)
)
anything = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


def is_understood(parse, content):
    try:
        parse(json.dumps(content).encode())
    except MessageError:
        return False
    return True


def both_ways(name, parse, content):
    assert validator(name).is_valid(content) == is_understood(parse, content), (content, mistakes(name, content))


@settings(max_examples=400)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "meas_id": id_values,
            "part_id": id_values,
            "job_id": id_values,
            "recipe": id_values,
            "expires_ms": expiries.filter(math.isfinite) | anything,
            "colour": anything,
        },
    )
    | anything
)
def test_the_schema_of_a_trigger_accepts_what_the_parser_accepts(content):
    both_ways("trigger", lambda payload: parse_trigger(payload, 0), content)


@settings(max_examples=300)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "consumer": id_values,
            "result_ids": st.lists(st.text(sayable, max_size=5) | st.integers(), max_size=3) | anything,
        },
    )
    | anything
)
def test_the_schema_of_an_ack_accepts_what_the_parser_accepts(content):
    both_ways("ack", parse_ack, content)


@settings(max_examples=300)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "command": st.sampled_from([RELOAD, RESUME, "recalibrate"]) | st.sampled_from(["", None, [], 1.5, "a\n"]),
            "correlation_id": id_values,
            "frames": st.integers(1),
        },
    )
    | anything
)
def test_the_schema_of_a_command_accepts_what_the_parser_accepts(content):
    both_ways("command", parse_command, content)


def test_a_command_that_nobody_knows_is_understood_and_answered_but_not_in_the_schema():
    content = {"command": "dance"}
    assert is_understood(parse_command, content)
    assert mistakes("command", content)
