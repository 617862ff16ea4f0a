import contextlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.inspection import Defect, Inspection, Trigger
from edge_agent.masks import EncodedMask, decode_png, encode_mask
from edge_agent.messages import (
    MAX_INPUT_BYTES,
    MAX_VERDICT_BYTES,
    BadTriggerError,
    encode_ack,
    encode_state,
    encode_trigger,
    encode_verdict,
    mark_historical,
    parse_ack,
    parse_trigger,
)
from edge_agent.topics import Topics
from engines.errors import ConfigError, MessageError

TOPICS = Topics("edge/v1", "plant", "cell-1")
TRIGGER = Trigger("17", "part-9", "job-1", "bottle", 500, 123)
INSPECTION = Inspection(
    result_id="019a0000-0000-7000-8000-000000000001",
    seq=5,
    boot_id="019a0000-0000-7000-8000-0000000000aa",
    station="cell-1",
    recipe="bottle",
    model_sha256="0123456789abcdef" * 4,
    threshold_rev="20260101T000000",
    verdict="FAIL",
    reasons=(),
    captured_at="2026-01-01T00:00:00.000001Z",
    decided_at="2026-01-01T00:00:00.010001Z",
    latency_ms=12.34567,
    trigger=TRIGGER,
    deadline_ms=400,
    score=4.5,
    limit=3.25,
    defects=(Defect((1, 2, 3, 4), 12, 9.87654321), Defect((5, 6, 7, 8), 56, 7.5)),
    frame_seq=77,
)
# The names and their order are the contract with every PLC program.
FIELDS = [
    "schema",
    "result_id",
    "seq",
    "boot_id",
    "station",
    "meas_id",
    "part_id",
    "job_id",
    "recipe",
    "model_sha256",
    "threshold_rev",
    "verdict",
    "reasons",
    "score",
    "limit",
    "defect_count",
    "defects",
    "mask",
    "captured_at",
    "decided_at",
    "latency_ms",
    "deadline_ms",
    "frame_seq",
    "clock_synced",
    "is_simulated",
    "is_historical",
]


def verdict(inspection, mask=None):
    return json.loads(encode_verdict(inspection, mask, TOPICS).payload)


def test_a_verdict_has_exactly_the_fields_of_the_design():
    content = verdict(INSPECTION)
    assert list(content) == FIELDS
    assert (content["meas_id"], content["part_id"], content["job_id"]) == ("17", "part-9", "job-1")
    assert content["model_sha256"] == "0123456789ab"
    assert content["is_historical"] is False
    assert content["mask"] is None


def test_defects_come_largest_first_and_at_most_sixteen():
    defects = tuple(Defect((0, 0, 1, 1), area, 1.0) for area in range(1, 31))
    content = verdict(replace(INSPECTION, defects=defects))
    assert content["defect_count"] == 30
    assert [defect["area_px"] for defect in content["defects"]] == list(range(30, 14, -1))


def test_free_run_has_no_measurement():
    content = verdict(replace(INSPECTION, trigger=None))
    assert (content["meas_id"], content["part_id"], content["job_id"]) == (None, None, None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_null(value):
    inspection = replace(
        INSPECTION, score=value, limit=value, latency_ms=value, defects=(Defect((0, 0, 1, 1), 1, value),)
    )
    content = verdict(inspection)
    assert (content["score"], content["limit"], content["latency_ms"]) == (None, None, None)
    assert content["defects"][0]["peak"] is None


def test_numbers_of_numpy_are_numbers():
    defect = Defect(tuple(np.arange(4)), np.int64(3), np.float32(2.5))
    assert verdict(replace(INSPECTION, defects=(defect,), score=np.float64(1.5)))["defects"][0]["area_px"] == 3


def test_a_small_mask_rides_in_its_verdict():
    mask = np.zeros((8, 8), bool)
    mask[2:4, 3:5] = True
    message = encode_verdict(INSPECTION, encode_mask(mask, (16, 16)), TOPICS)
    content = json.loads(message.payload)["mask"]
    assert content["encoding"] == "coco_rle"
    assert content["size_wh"] == [16, 16]
    assert message.mask_png is None


def test_a_mask_that_does_not_fit_moves_to_its_own_topic():
    mask = np.random.default_rng(3).random((96, 96)) < 0.5
    inline = encode_mask(mask, (96, 96), inline_limit_bytes=10_000)
    assert inline.encoding == "coco_rle"
    message = encode_verdict(INSPECTION, inline, TOPICS)
    assert json.loads(message.payload)["mask"] == {
        "encoding": "png",
        "size_wh": [96, 96],
        "topic": f"edge/v1/plant/cell-1/mask/{INSPECTION.result_id}",
    }
    assert np.array_equal(decode_png(message.mask_png), mask)


text = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=32)
numbers = st.integers(-(2**31), 2**31)
many_defects = st.lists(
    st.builds(Defect, st.tuples(numbers, numbers, numbers, numbers), numbers, st.floats()), max_size=40
)


@settings(max_examples=100)
@given(text, text, text, many_defects, st.integers(0, 4000))
def test_a_verdict_never_exceeds_four_kilobytes(meas_id, part_id, job_id, defects, rle_bytes):
    trigger = Trigger(meas_id, part_id, job_id, None, None, 0)
    # An RLE string of any length: zero-length runs are allowed, backslashes are doubled by JSON.
    mask = EncodedMask("coco_rle", (1, 1), b"1" + b"0" * rle_bytes)
    payload = encode_verdict(replace(INSPECTION, trigger=trigger, defects=tuple(defects)), mask, TOPICS).payload
    assert len(payload) <= MAX_VERDICT_BYTES
    assert json.loads(payload)["defect_count"] == len(defects)


def test_a_verdict_that_cannot_be_made_short_is_an_error():
    with pytest.raises(MessageError, match="Shorten the names"):
        encode_verdict(replace(INSPECTION, recipe="r" * 5000), None, TOPICS)


def test_historical_changes_one_field():
    payload = encode_verdict(INSPECTION, None, TOPICS).payload
    historical = json.loads(mark_historical(payload))
    assert historical == {**json.loads(payload), "is_historical": True}


def test_state_names_its_boot_and_reasons():
    content = json.loads(encode_state("error", "boot", degraded=True, reasons=["camera_lost"], recipe="bottle"))
    assert content["state"] == "error"
    assert content["boot_id"] == "boot"
    assert content["reasons"] == ["camera_lost"]
    assert content["recipe"] == "bottle"


def test_a_trigger_round_trips():
    assert parse_trigger(encode_trigger(TRIGGER), 123) == TRIGGER


def test_a_trigger_may_have_numbers_as_ids_and_unknown_keys():
    trigger = parse_trigger(b'{"meas_id": 17, "part_id": 4, "colour": ["red"]}', 5)
    assert trigger == Trigger(17, 4, None, None, None, 5)


@pytest.mark.parametrize("meas_id", [41, "41", 2**63, -1])
def test_an_id_comes_back_with_its_type(meas_id):
    trigger = parse_trigger(json.dumps({"meas_id": meas_id, "part_id": meas_id, "job_id": meas_id}).encode(), 5)
    content = verdict(replace(INSPECTION, trigger=trigger))
    for name in ("meas_id", "part_id", "job_id"):
        assert (content[name], type(content[name])) == (meas_id, type(meas_id))


@pytest.mark.parametrize(("sent", "read"), [(b"500.0", 500), (b"1.0", 1), (b"86400000.0", 86_400_000)])
def test_a_whole_real_is_accepted_as_expiry(sent, read):
    expires_ms = parse_trigger(b'{"meas_id": 1, "expires_ms": ' + sent + b"}", 0).expires_ms
    assert (expires_ms, type(expires_ms)) == (read, int)


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ({"expires_ms": 2.5, "part_id": 4}, Trigger(41, 4, None, None, None, 5)),
        ({"expires_ms": 0.0}, Trigger(41, None, None, None, None, 5)),
        ({"expires_ms": 1e300}, Trigger(41, None, None, None, None, 5)),
        ({"recipe": "r" * 300, "expires_ms": 500}, Trigger(41, None, None, None, 500, 5)),
        ({"part_id": [], "job_id": "j", "recipe": 5}, Trigger(41, "", "j", "5", None, 5)),
        ({"job_id": True, "part_id": ""}, Trigger(41, "", "", None, None, 5)),
    ],
)
def test_a_bad_trigger_keeps_what_could_be_read(fields, read):
    with pytest.raises(BadTriggerError) as caught:
        parse_trigger(json.dumps({"meas_id": 41, **fields}).encode(), 5)
    assert caught.value.trigger == read
    assert caught.value.fix in str(caught.value)


def test_without_a_readable_meas_id_there_is_nobody_to_answer():
    with pytest.raises(MessageError) as caught:
        parse_trigger(b'{"meas_id": 1.5, "expires_ms": 2.5}', 0)
    assert not isinstance(caught.value, BadTriggerError)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 15_000, "not JSON"),
        (b'{"meas_id": NaN}', "NaN is no JSON number"),
        (b"[1]", "not an object"),
        (b"{}", "no `meas_id`"),
        (b'{"meas_id": null}', "no `meas_id`"),
        (b'{"meas_id": ""}', "meas_id ''"),
        (b'{"meas_id": true}', "meas_id True"),
        (b'{"meas_id": 1.5}', "meas_id 1.5"),
        (b'{"meas_id": {}}', "meas_id {}"),
        (b'{"meas_id": "\\ud800"}', "meas_id"),
        (b'{"meas_id": "a\\u0000b"}', "meas_id"),
        (b'{"meas_id": "' + b"x" * 129 + b'"}', "1 to 128"),
        (b'{"meas_id": 1, "part_id": []}', r"part_id \[\]"),
        (b'{"meas_id": 1, "expires_ms": 0}', "expires_ms 0"),
        (b'{"meas_id": 1, "expires_ms": true}', "expires_ms True"),
        (b'{"meas_id": 1, "expires_ms": 2.5}', "expires_ms 2.5"),
        (b'{"meas_id": 1, "expires_ms": 86400001}', "expires_ms 86400001"),
        (b'{"meas_id": 1}' + b" " * MAX_INPUT_BYTES, "at most 16384"),
    ],
)
def test_a_bad_trigger_is_refused_with_what_to_do(payload, complaint):
    with pytest.raises(MessageError, match=complaint) as caught:
        parse_trigger(payload, 0)
    assert caught.value.fix


def test_the_size_limit_itself_is_accepted():
    payload = b'{"meas_id": 1}'
    assert parse_trigger(payload + b" " * (MAX_INPUT_BYTES - len(payload)), 0).meas_id == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"no",
        b"{}",
        b'{"consumer": "plc"}',
        b'{"result_ids": []}',
        b'{"consumer": "plc", "result_ids": "a"}',
        b'{"consumer": "plc", "result_ids": [1]}',
        b'{"consumer": "plc", "result_ids": ["\\ud800"]}',
        b'{"consumer": ["plc"], "result_ids": []}',
    ],
)
def test_a_bad_ack_is_refused(payload):
    with pytest.raises(MessageError):
        parse_ack(payload)


def test_an_ack_round_trips():
    ack = parse_ack(encode_ack("plc", ["a", "b"]))
    assert (ack.consumer, ack.result_ids) == ("plc", ("a", "b"))


@settings(max_examples=200)
@given(st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_foreign_bytes_are_refused_or_understood_but_never_crash(payload):
    with contextlib.suppress(MessageError):
        parse_trigger(payload, 0)
    with contextlib.suppress(MessageError):
        parse_ack(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200)
@given(st.fixed_dictionaries({"meas_id": json_values, "part_id": json_values, "expires_ms": json_values}))
def test_a_trigger_that_is_accepted_can_be_answered(content):
    try:
        trigger = parse_trigger(json.dumps(content).encode(), 0)
    except BadTriggerError as problem:
        trigger = problem.trigger
    except MessageError:
        return
    assert verdict(replace(INSPECTION, trigger=trigger))["meas_id"] == trigger.meas_id


@pytest.mark.parametrize(
    ("prefix", "site", "station"),
    [
        ("", "s", "t"),
        ("edge//v1", "s", "t"),
        ("/edge", "s", "t"),
        ("edge", "a/b", "t"),
        ("edge", "s", "+"),
        ("edge", "s#", "t"),
    ],
)
def test_names_that_cannot_be_topics_are_refused(prefix, site, station):
    with pytest.raises(ConfigError, match="Use letters"):
        Topics(prefix, site, station)
