"""Thresholds change under a running agent: between two parts, and only to what would reject a defective one."""

import shutil
import signal
import threading
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from running_station import RunningStation, TestPlc

from edge_agent.drift import figures_of, usual_of
from edge_agent.messages import encode_command
from edge_agent.revisions import activate, rollback, save_thresholds
from edge_agent.thresholds import load_thresholds

WITHIN_S = 1.0
PARTS_UNDER_LOAD = 150


@pytest.fixture
def recipe(fitted_recipe, tmp_path):
    return shutil.copytree(fitted_recipe, tmp_path / "recipe")


def revise(recipe, **changes):
    """Save a revision like the first one but for some values of its calibration; returns its name."""
    revision = load_thresholds(recipe, name="r0001")
    revised = replace(revision, calibration=revision.calibration.model_copy(update=changes))
    return save_thresholds(recipe, revised, images_csv="", versions={}).name


@pytest.fixture
def running(recipe, good_frames_folder, start_agent):
    station, plc = start_agent(recipe, good_frames_folder)
    plc.wait_for_state("ready")
    return station, plc


def wait_for_revision(plc, name):
    began = time.monotonic()
    while plc.states[-1]["threshold_rev"] != name:
        assert time.monotonic() < began + WITHIN_S, plc.states[-1]
        time.sleep(0.005)


def test_sighup_takes_what_is_in_force_within_a_second(running, recipe):
    station, plc = running
    first = plc.ask("1")
    name = revise(recipe, factor=first["limit"] * 1.25)
    activate(recipe, name)
    assert plc.ask("2")["threshold_rev"] == "r0001"
    station.process.send_signal(signal.SIGHUP)
    wait_for_revision(plc, name)
    verdict = plc.ask("3")
    assert (verdict["threshold_rev"], verdict["limit"]) == (name, pytest.approx(first["limit"] * 1.25))
    rollback(recipe)
    assert plc.command("reload", "back")["threshold_rev"] == "r0001"
    assert plc.ask("4")["threshold_rev"] == "r0001"


def test_the_reply_says_what_became_of_the_command(running, recipe):
    _, plc = running
    name = revise(recipe, note="lens cleaned")
    activate(recipe, name)
    reply = plc.command("reload", "17")
    assert reply == {
        "schema": 1,
        "command": "reload",
        "correlation_id": "17",
        "ok": True,
        "problem": None,
        "threshold_rev": name,
    }
    assert "no command 'dance'. Send 'reload'" in plc.command("dance", "18")["problem"]


def damage(recipe):
    name = revise(recipe)
    activate(recipe, name)
    np.save(recipe / "thresholds" / name / "scale.npy", np.ones((2, 64, 64), np.float32))


def force(recipe, name):
    """Put a revision in force that `activate` would refuse."""
    (recipe / "thresholds" / "current").write_text(f"{name}\n")


def make_foreign(recipe):
    force(recipe, revise(recipe, model_sha256="0" * 64))


def name_nothing(recipe):
    (recipe / "thresholds" / "current").write_bytes(b"\xff\xfe\0r0001")


def see_only_a_corner(recipe):
    """A revision with which the test piece in the middle fails, and the one towards the other corner passes."""
    revision = load_thresholds(recipe, name="r0001")
    _, height, width = revision.scale.shape
    scale = np.full_like(revision.scale, np.inf)
    corner = (slice(None), slice(int(0.46 * height), None), slice(int(0.46 * width), None))
    scale[corner] = revision.scale[corner]
    name = save_thresholds(recipe, replace(revision, scale=scale), images_csv="", versions={}).name
    activate(recipe, name)


def pass_everything(recipe):
    activate(recipe, revise(recipe, factor=1e6))


def lose(recipe):
    (recipe / "thresholds" / "current").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (damage, "scale.npy"),
        (make_foreign, "was fitted on"),
        (pass_everything, "was not rejected by revision"),
        (lose, "no threshold revision in force"),
        (name_nothing, "is damaged"),
        (see_only_a_corner, "defect-1.png was not rejected"),
    ],
)
def test_thresholds_that_cannot_be_trusted_leave_the_old_ones_in_force(running, recipe, spoil, says):
    station, plc = running
    limit = plc.ask("1")["limit"]
    spoil(recipe)
    reply = plc.command("reload", "x")
    assert not reply["ok"]
    assert says in reply["problem"]
    assert plc.wait_for_state("ready", "reload_refused")["degraded"]
    verdict = plc.ask("2")
    assert (verdict["verdict"], verdict["threshold_rev"], verdict["limit"]) == ("PASS", "r0001", limit)
    activate(recipe, revise(recipe))
    assert plc.command("reload", "y")["ok"]
    assert plc.ask("3")["verdict"] == "PASS"
    assert "reload_refused" not in plc.states[-1]["reasons"]
    assert station.stop() == 0


def test_a_malformed_command_harms_nothing(running):
    _, plc = running
    for payload in (b"", b"reload", b"[1]", b'{"command": 5e9999}', b'{"command": ""}', b"\xff" * 100):
        plc.client.publish(plc.topics.command, payload)
    assert plc.ask("1")["verdict"] == "PASS"
    assert plc.command("reload", "z")["ok"]


def test_under_load_no_verdict_is_lost_doubled_or_judged_by_half_a_revision(recipe, good_frames_folder, start_agent):
    patience = {"deadline_ms": 60_000, "capture_within_ms": 60_000}
    station, plc = start_agent(recipe, good_frames_folder, trigger=patience)
    plc.wait_for_state("ready")
    limits = {"r0001": plc.ask("first")["limit"]}
    limits[revise(recipe, factor=limits["r0001"] * 1.5)] = limits["r0001"] * 1.5
    over = threading.Event()

    def change_again_and_again():
        while not over.is_set():
            for name in (*reversed(limits), *limits):
                activate(recipe, name)
                station.process.send_signal(signal.SIGHUP)
                time.sleep(0.02)

    changing = threading.Thread(target=change_again_and_again)
    changing.start()
    try:
        for number in range(PARTS_UNDER_LOAD):
            plc.trigger(f"load-{number}")
            time.sleep(0.01)
        # A slow machine acknowledges late: the same result may come again, another one may not.
        answers = {}
        while len(answers) < PARTS_UNDER_LOAD:
            verdict = plc.verdict()
            assert answers.setdefault(verdict["meas_id"], verdict)["result_id"] == verdict["result_id"]
        verdicts = list(answers.values())
    finally:
        over.set()
        changing.join()
    assert set(answers) == {f"load-{n}" for n in range(PARTS_UNDER_LOAD)}
    assert all(v["limit"] == pytest.approx(limits[v["threshold_rev"]]) for v in verdicts)
    assert {v["threshold_rev"] for v in verdicts} == set(limits)
    assert Counter(v["verdict"] for v in verdicts)["INVALID"] == 0
    known = {verdict["result_id"] for verdict in verdicts}
    assert {plc.verdicts.get_nowait()["result_id"] for _ in range(plc.verdicts.qsize())} <= known


@pytest.fixture
def bad_frames(tmp_path, good_frames_folder):
    folder = tmp_path / "bad"
    folder.mkdir()
    for path in sorted(good_frames_folder.glob("*.png"))[:5]:
        frame = cv2.imread(str(path))
        frame[30:46, 30:50] = 0
        cv2.imwrite(str(folder / path.name), frame)
    return folder


@pytest.fixture
def alarmed(recipe, bad_frames, start_agent):
    """A station that halts after three rejects in a row, on frames of which every one is defective."""
    _, plc = start_agent(recipe, bad_frames, alarms={"max_consecutive_fail": 3})
    plc.wait_for_state("ready")
    return plc


@pytest.mark.parametrize("command", ["resume", "reload"])
def test_rejects_in_a_row_halt_the_station_until_a_person_has_looked(alarmed, command):
    assert [alarmed.ask(str(number))["verdict"] for number in range(3)] == ["FAIL"] * 3
    alarmed.wait_for_state("halted", "max_consecutive_fail")
    refused = alarmed.ask("4")
    assert (refused["verdict"], refused["reasons"]) == ("INVALID", ["not_ready"])
    assert alarmed.command(command, "1")["ok"]
    alarmed.wait_for_state("ready")
    assert alarmed.ask("5")["verdict"] == "FAIL"


def test_in_free_run_nothing_is_judged_after_the_station_has_halted(recipe, bad_frames, start_agent):
    _, plc = start_agent(recipe, bad_frames, alarms={"max_consecutive_fail": 3}, camera={"mode": "free_run"})
    plc.wait_for_state("halted", "max_consecutive_fail")
    assert plc.command("resume", "1")["ok"]
    verdicts = [plc.verdict() for _ in range(6)]
    plc.wait_for_state("halted", "max_consecutive_fail")
    assert plc.command("pause", "2")["ok"], "whatever was on its way has come"
    assert plc.verdicts.empty()
    assert [verdict["verdict"] for verdict in verdicts] == ["FAIL"] * 6


def test_good_parts_that_change_are_said_and_still_judged(recipe, tmp_path, good_frames_folder, start_agent):
    folder = tmp_path / "darker"
    folder.mkdir()
    for path in sorted(good_frames_folder.glob("*.png")):
        cv2.imwrite(str(folder / path.name), cv2.convertScaleAbs(cv2.imread(str(path)), alpha=0.8))
    measured = defaultdict(list)
    for path in sorted(good_frames_folder.glob("*.png")):
        for name, value in figures_of(cv2.imread(str(path)), 1.0).items():
            measured[name].append(value)
    activate(recipe, revise(recipe, usual=usual_of(measured)))
    _, plc = start_agent(recipe, folder)
    plc.wait_for_state("ready")
    for number in range(50):
        plc.ask(str(number))
    state = plc.wait_for_state("ready", "drift_brightness")
    assert state["degraded"]


@pytest.mark.parametrize("command", ["reload", "resume"])
def test_a_station_whose_test_piece_passed_inspects_again_when_it_is_rejected(
    recipe, good_frames_folder, start_agent, command
):
    name = revise(recipe, factor=1e6)
    force(recipe, name)
    _, plc = start_agent(recipe, good_frames_folder)
    plc.wait_for_state("error", "test_piece")
    assert "was not rejected" in plc.command(command, "1")["problem"]
    assert plc.ask("1")["reasons"] == ["not_ready"]
    activate(recipe, "r0001")
    assert plc.command("reload", "2")["ok"]
    plc.wait_for_state("ready")
    assert plc.ask("2")["verdict"] == "PASS"


def test_a_retained_command_is_not_obeyed(recipe, tmp_path, mosquitto, good_frames_folder):
    station = RunningStation(tmp_path, recipe, mosquitto.port, f"folder://{good_frames_folder}?loop=true")
    plc = TestPlc(mosquitto.port, station.topics)
    plc.client.live.wait(10)
    plc.client.publish(plc.topics.command, b'{"command": "reload", "correlation_id": "old"}', retain=True)
    time.sleep(0.2)
    station.start()
    try:
        plc.wait_for_state("ready")
        assert plc.command("resume", "new")["ok"]
        assert plc.replies.empty()
    finally:
        plc.client.publish(plc.topics.command, b"", retain=True)
        plc.stop()
        station.kill()


def test_a_storm_of_commands_is_answered_and_parts_go_first(running):
    _, plc = running
    for number in range(60):
        plc.client.publish(plc.topics.command, encode_command("reload", str(number)))
        if number % 3 == 0:
            plc.trigger(f"storm-{number}")
        time.sleep(0.01)
    verdicts = [plc.verdict() for _ in range(20)]
    assert {v["verdict"] for v in verdicts} == {"PASS"}
    replies = [plc.replies.get(timeout=10) for _ in range(60)]
    assert {r["correlation_id"] for r in replies} == {str(n) for n in range(60)}
    assert all(r["ok"] or "too many commands" in r["problem"] for r in replies)


def test_sighup_while_the_agent_starts_does_not_end_it(recipe, good_frames_folder, start_agent):
    station, plc = start_agent(recipe, good_frames_folder)
    until = time.monotonic() + 20
    # From the moment when the signal is caught: see /proc/PID/status.
    while not catches_sighup(station.process.pid) and time.monotonic() < until:
        time.sleep(0.005)
    while not plc.states and time.monotonic() < until:
        station.process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
    plc.wait_for_state("ready")
    assert station.process.poll() is None


def catches_sighup(pid):
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line for line in status if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGHUP - 1))
