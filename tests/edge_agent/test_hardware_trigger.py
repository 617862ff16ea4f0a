"""A whole station whose camera an electrical trigger fires: here, a byte in a named pipe."""

import os
import time

import pytest
from running_station import RunningStation, TestPlc

WINDOW = {"deadline_ms": 2500, "capture_within_ms": None, "pair_min_ms": -600, "pair_max_ms": 600}


@pytest.fixture
def fire(tmp_path):
    os.mkfifo(tmp_path / "fire")
    descriptor = os.open(tmp_path / "fire", os.O_RDWR)
    yield lambda times=1: os.write(descriptor, b"x" * times)
    os.close(descriptor)


@pytest.fixture
def running(tmp_path, fitted_recipe, mosquitto, fire, exit_stack):
    uri = f"synthetic://plate?size=96x80&fire={tmp_path / 'fire'}"
    station = RunningStation(
        tmp_path, fitted_recipe, mosquitto.port, uri, trigger=WINDOW, camera={"mode": "hardware_triggered"}
    ).start()
    exit_stack.callback(station.kill)
    plc = TestPlc(mosquitto.port, station.topics)
    exit_stack.callback(plc.stop)
    plc.wait_for_state("ready")
    # Nobody knows what came before the camera was open; and a busy machine reads a trigger too late to be sure.
    assert set(until_believed(plc, fire, "first")) <= {"frame_gap", "ambiguous_pairing"}
    return station, plc


def until_believed(plc, fire, name):
    """Let parts come, each alone with its frame; return why those before the first judged one are INVALID."""
    reasons = []
    for number in range(4):
        fire()
        reason = plc.ask(f"{name}-{number}")["reasons"]
        if not reason:
            return reasons
        reasons += reason
    raise AssertionError(f"no part was judged: {reasons}")


def test_a_frame_belongs_to_its_part_whichever_comes_first(running, fire):
    station, plc = running
    fire()
    first = plc.ask("1")
    plc.trigger("2")
    fire()
    second = plc.verdict()
    assert [(v["meas_id"], v["frame_seq"], v["reasons"]) for v in (first, second)] == [
        ("1", first["frame_seq"], []),
        ("2", first["frame_seq"] + 1, []),
    ]
    assert {first["verdict"], second["verdict"]} <= {"PASS", "FAIL"}
    # The window must have closed.
    assert min(first["latency_ms"], second["latency_ms"]) > 600
    assert station.stop() == 0


def test_two_frames_at_once_are_nobodys(running, fire):
    _, plc = running
    fire(2)
    assert plc.ask("1")["reasons"] == ["ambiguous_pairing"]


def test_two_triggers_at_once_claim_the_same_frame(running, fire):
    _, plc = running
    fire()
    for meas_id in "12":
        plc.trigger(meas_id)
    assert [plc.verdict()["reasons"] for _ in range(2)] == [["ambiguous_pairing"]] * 2


def test_a_repeated_trigger_claims_no_frame(running, fire):
    _, plc = running
    fire()
    for _ in range(2):
        plc.trigger("1")
    assert plc.verdict()["reasons"] == []


def test_a_part_without_a_frame_tells_by_its_deadline_that_the_camera_is_lost(running, fire):
    _, plc = running
    verdict = plc.ask("1")
    assert (verdict["verdict"], verdict["reasons"]) == ("INVALID", ["no_frame"])
    assert verdict["latency_ms"] < WINDOW["deadline_ms"]
    plc.wait_for_state("error", "camera_lost")
    plc.wait_for_state("ready")
    assert set(until_believed(plc, fire, "after")) == {"frame_gap"}


def test_a_frame_outside_the_window_is_no_lost_camera_and_says_how_far_off_it_was(running, fire):
    station, plc = running
    assert plc.ask("1")["reasons"] == ["no_frame"]
    fire()
    deadline = time.monotonic() + 10
    while "frame without a trigger" not in station.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert until_believed(plc, fire, "after") == ["frame_gap"]
    assert [state["state"] for state in plc.states].count("error") == 0


def test_frames_beyond_the_slots_are_a_gap_until_a_part_agrees(running, fire):
    _, plc = running
    fire(30)
    assert plc.ask("1")["reasons"] == ["ambiguous_pairing"]
    assert set(until_believed(plc, fire, "after")) == {"frame_gap"}
