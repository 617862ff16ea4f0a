"""The whole station: a real agent process, a real Mosquitto, and a PLC."""

import os
import queue
import shutil
import signal
import sqlite3
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from running_station import RunningStation, TestPlc

from edge_agent.masks import decode_rle
from engines.errors import PublishError


@pytest.fixture
def frames(tmp_path, good_frames_folder):
    """Three good frames and one with a plain black bar, in this order."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, source in enumerate(sorted(good_frames_folder.glob("*.png"))[:3]):
        shutil.copy(source, folder / f"{index}-good.png")
    frame = cv2.imread(str(folder / "0-good.png"))
    frame[30:46, 30:50] = 0
    cv2.imwrite(str(folder / "3-bar.png"), frame)
    return folder


@pytest.fixture
def make_station(tmp_path, fitted_recipe, mosquitto):
    made = []

    def make(uri, *, recipe=fitted_recipe, **changes):
        made.append(RunningStation(tmp_path, recipe, mosquitto.port, uri, **changes))
        return made[-1].start()

    yield make
    for station in made:
        station.kill()


@pytest.fixture
def make_plc(mosquitto):
    made = []

    def make(station, **options):
        made.append(TestPlc(mosquitto.port, station.topics, **options))
        return made[-1]

    yield make
    for plc in made:
        plc.stop()


@pytest.fixture
def running(make_station, make_plc, frames):
    """A ready station on the four frames, and its PLC."""
    station = make_station(f"folder://{frames}")
    plc = make_plc(station)
    plc.wait_for_state("ready")
    return station, plc


def test_every_trigger_gets_one_verdict_and_the_mask_shows_the_place(running):
    station, plc = running
    verdicts = [plc.ask(str(n), part_id=f"p{n}", recipe="tiny") for n in range(4)]
    assert [v["verdict"] for v in verdicts] == ["PASS", "PASS", "PASS", "FAIL"]
    assert [v["part_id"] for v in verdicts] == ["p0", "p1", "p2", "p3"]
    assert [v["frame_seq"] for v in verdicts] == [0, 1, 2, 3]
    assert all(v["is_simulated"] and not v["is_historical"] for v in verdicts)
    bad = verdicts[3]
    mask = decode_rle(bad["mask"]["data"].encode(), tuple(bad["mask"]["size_wh"]))
    rows, columns = np.nonzero(mask)
    assert mask.shape == (80, 96)
    assert 30 <= np.median(rows) <= 46
    assert 30 <= np.median(columns) <= 50
    assert bad["score"] > bad["limit"] >= max(v["score"] for v in verdicts[:3])
    assert station.stop() == 0
    assert plc.wait_for_state("stopped")
    assert plc.verdicts.empty()


def test_the_same_ids_get_the_same_result_and_other_ids_a_conflict(running):
    _, plc = running
    first = plc.ask("7", part_id="a")
    again = plc.ask("7", part_id="a")
    assert again["result_id"] == first["result_id"]
    other = plc.ask("7", part_id="b")
    assert (other["verdict"], other["reasons"]) == ("INVALID", ["id_conflict"])


@pytest.mark.parametrize(
    ("ids", "reason"),
    [({"recipe": "another"}, "wrong_recipe"), ({"expires_ms": 1}, None)],
)
def test_what_cannot_be_inspected_is_invalid_at_once(running, ids, reason):
    _, plc = running
    verdict = plc.ask("1", **ids)
    assert verdict["verdict"] == "INVALID"
    assert verdict["reasons"] == [reason] if reason else verdict["reasons"][0] in {"expired", "deadline", "no_frame"}
    assert verdict["score"] is None
    assert verdict["mask"] is None


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"part_id": "x"}', b'{"meas_id": true}', b"\xff" * 20_000])
def test_a_malformed_trigger_changes_nothing(running, payload):
    station, plc = running
    plc.client.publish(station.topics.trigger, payload)
    assert plc.ask("1")["verdict"] == "PASS"
    with pytest.raises(queue.Empty):
        plc.verdict(timeout_s=0.3)


def test_when_the_folder_ends_triggers_are_invalid(running):
    _, plc = running
    for n in range(4):
        plc.ask(str(n))
    assert plc.ask("4")["reasons"] == ["no_frame"]
    plc.wait_for_state("initialized", "frames_ended")
    assert plc.ask("5")["reasons"] == ["not_ready"]


def test_bad_frames_are_invalid_with_their_reason_and_the_agent_goes_on(make_station, make_plc, frames):
    good = cv2.imread(str(frames / "0-good.png"))
    png = (frames / "0-good.png").read_bytes()
    (frames / "1-good.png").write_text("no picture")
    (frames / "2-good.png").write_bytes(png[: len(png) // 2])
    cv2.imwrite(str(frames / "4-tiny.png"), np.zeros((1, 1, 3), np.uint8))
    cv2.imwrite(str(frames / "5-deep.png"), good.astype(np.uint16) * 256)
    cv2.imwrite(str(frames / "6-grey.png"), good[:, :, 0])
    cv2.imwrite(str(frames / "7-rgba.png"), np.dstack([good, good[:, :, 0]]))
    cv2.imwrite(str(frames / "8-large.png"), np.vstack([good, good]))
    cv2.imwrite(str(frames / "9-black.png"), np.zeros_like(good))
    cv2.imwrite(str(frames / "91-white.png"), np.full_like(good, 255))
    cv2.imwrite(str(frames / "92-good.png"), good)
    plc = make_plc(make_station(f"folder://{frames}"))
    plc.wait_for_state("ready")
    verdicts = [plc.ask(str(n)) for n in range(12)]
    assert [v["reasons"] for v in verdicts] == [
        [],
        ["unreadable_frame"],
        ["unreadable_frame"],
        [],
        ["unreadable_frame"],
        ["unreadable_frame"],
        ["frame_size"],
        ["frame_size"],
        ["frame_size"],
        ["black_frame"],
        ["blown_out_frame"],
        [],
    ]
    assert [v["verdict"] for v in verdicts if not v["reasons"]] == ["PASS", "FAIL", "PASS"]
    assert {v["verdict"] for v in verdicts if v["reasons"]} == {"INVALID"}


def test_without_a_broker_the_agent_waits_and_then_works(tmp_path, fitted_recipe, frames, make_mosquitto):
    broker = make_mosquitto()
    station = RunningStation(tmp_path, fitted_recipe, broker.port, f"folder://{frames}").start()
    try:
        deadline = time.monotonic() + 20
        while "state=ready" not in station.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        broker.start()
        plc = TestPlc(broker.port, station.topics)
        plc.wait_for_state("ready")
        assert plc.ask("1")["verdict"] == "PASS"
        plc.stop()
    finally:
        station.kill()


def test_free_run_goes_on_while_the_broker_is_away_and_nothing_is_lost(
    make_station, make_plc, mosquitto, good_frames_folder
):
    station = make_station(f"folder://{good_frames_folder}?pace=20", camera={"mode": "free_run"})
    plc = make_plc(station)
    first = plc.verdict()
    mosquitto.kill()
    time.sleep(0.5)
    mosquitto.start()
    received = {first["frame_seq"]: first}
    while len(received) < 40:
        verdict = plc.verdict()
        received[verdict["frame_seq"]] = verdict
    assert sorted(received) == list(range(40))
    assert any(verdict["is_historical"] for verdict in received.values())
    assert all(verdict["meas_id"] is None for verdict in received.values())


def test_unacknowledged_verdicts_come_again_also_after_a_restart(make_station, make_plc, frames):
    station = make_station(f"folder://{frames}")
    plc = make_plc(station, acknowledges=False)
    plc.wait_for_state("ready")
    first = plc.ask("1")
    assert plc.verdict()["result_id"] == first["result_id"]
    station.process.kill()
    station.process.wait()
    station.start()
    while (again := plc.verdict())["is_historical"] is False:
        pass
    assert again["result_id"] == first["result_id"]
    plc.acknowledge(again)
    plc.wait_for_state("ready")
    assert plc.ask("2")["seq"] > first["seq"]


def test_a_part_that_was_open_at_a_crash_becomes_invalid_restart(make_station, make_plc, frames):
    station = make_station("synthetic://plate?size=96x80&live=1&fps=1", trigger={"deadline_ms": 20_000})
    plc = make_plc(station)
    plc.wait_for_state("ready")
    plc.trigger("1")
    deadline = time.monotonic() + 10
    database = station.folder / "state" / "outbox.db"
    while True:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            if connection.execute("SELECT count(*) FROM triggers").fetchone()[0]:
                break
        assert time.monotonic() < deadline
    station.process.kill()
    station.process.wait()
    station.start()
    verdict = plc.verdict()
    assert (verdict["meas_id"], verdict["verdict"], verdict["reasons"]) == ("1", "INVALID", ["restart"])


def test_a_frozen_live_camera_passes_nothing(make_station, make_plc):
    station = make_station("synthetic://plate?size=96x80&live=1&fps=50&fault=frozen&fault_at=3&fault_frames=100000")
    plc = make_plc(station)
    plc.wait_for_state("ready")
    verdicts = [plc.ask(str(n)) for n in range(4)]
    assert [v["reasons"] for v in verdicts[1:]] == [["frozen_frame"]] * 3


def test_in_a_burst_no_part_is_judged_by_a_frame_of_a_later_one(make_station, make_plc, frames):
    limits = {"capture_within_ms": 30, "deadline_ms": 2000}
    station = make_station(f"folder://{frames}?loop=1&pace=20", trigger=limits)
    plc = make_plc(station)
    plc.wait_for_state("ready")
    for number in range(8):
        plc.trigger(str(number))
    verdicts = {v["meas_id"]: v for v in (plc.verdict() for _ in range(8))}
    assert len(verdicts) == 8
    late = [v for v in verdicts.values() if v["reasons"]]
    assert len(late) >= 5
    assert {reason for v in late for reason in v["reasons"]} <= {"late_frame", "no_frame"}


def test_a_camera_that_hangs_is_answered_by_the_deadline(make_station, make_plc):
    limits = {"capture_within_ms": 200, "deadline_ms": 200}
    station = make_station("synthetic://plate?size=96x80&fault=hang&fault_at=0", trigger=limits)
    plc = make_plc(station)
    plc.wait_for_state("ready")
    verdict = plc.ask("1")
    assert verdict["verdict"] == "INVALID"
    assert verdict["reasons"][0] in {"deadline", "no_frame"}
    assert verdict["latency_ms"] < 1000


def test_a_second_agent_on_the_same_state_is_refused(running):
    station, plc = running
    second = RunningStation.__new__(RunningStation)
    second.__dict__.update(vars(station), log=station.folder / "second.log")
    second.start()
    assert second.process.wait(20) == 69
    assert "another process runs with the state directory" in second.log.read_text()
    assert plc.ask("1")["verdict"] == "PASS"


def test_the_camera_process_may_die_and_comes_back(make_station, make_plc, frames):
    station = make_station(f"folder://{frames}?loop=1")
    plc = make_plc(station)
    plc.wait_for_state("ready")
    plc.ask("1")
    children = Path(f"/proc/{station.process.pid}/task/{station.process.pid}/children").read_text().split()
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGKILL)
    plc.wait_for_state("error", "camera_lost")
    plc.wait_for_state("ready")
    assert plc.ask("2")["verdict"] == "PASS"


def test_agent_and_camera_stay_small_and_import_no_torch(running):
    station, plc = running
    plc.ask("1")
    pid = station.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for process in (str(pid), *children):
        status = Path(f"/proc/{process}/status").read_text()
        resident_kb = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
        assert resident_kb < 200 * 1024
        assert "torch" not in Path(f"/proc/{process}/maps").read_text()


def test_an_altered_recipe_is_refused_with_the_file_named(tmp_path, make_station, fitted_recipe, frames):
    recipe = tmp_path / "altered"
    shutil.copytree(fitted_recipe, recipe)
    model = recipe / "model.cpu.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    station = make_station(f"folder://{frames}", recipe=recipe)
    assert station.process.wait(20) == 78
    assert "model.cpu.onnx was altered or truncated" in station.log.read_text()


def test_a_refused_login_is_said_and_the_agent_goes_on(tmp_path, fitted_recipe, frames, make_mosquitto):
    broker = make_mosquitto(user=("press4", "right"))
    broker.start()
    station = RunningStation(tmp_path, fitted_recipe, broker.port, f"folder://{frames}").start()
    try:
        deadline = time.monotonic() + 20
        while "state=ready" not in station.log.read_text() or "refuse" not in station.log.read_text().lower():
            assert time.monotonic() < deadline, station.log.read_text()
            time.sleep(0.02)
        assert station.process.poll() is None
    finally:
        station.kill()


def test_parts_that_are_refused_for_want_of_time_count_for_the_alarms(make_station, make_plc):
    limits = {"deadline_ms": 30_000, "capture_within_ms": 30_000}
    station = make_station(
        "synthetic://plate?size=96x80&live=1&fps=2", trigger=limits, alarms={"max_consecutive_invalid": 20}
    )
    plc = make_plc(station)
    plc.wait_for_state("ready")
    sent = 0
    while sent < 300:
        # The PLC's own client takes no more than so many at a time.
        with suppress(PublishError):
            plc.trigger(f"{sent}")
            sent += 1
    plc.wait_for_state("halted", "max_consecutive_invalid")


def test_a_storm_is_answered_at_once_instead_of_growing_a_queue(make_station, make_plc, frames):
    uri = f"folder://{frames}?loop=true"
    station = make_station(uri, trigger={"deadline_ms": 150, "capture_within_ms": 150})
    plc = make_plc(station, acknowledges=False)
    plc.wait_for_state("ready")
    for number in range(5):
        plc.trigger(f"calm-{number}")
    sent = 0
    while sent < 300:
        # The PLC's own client takes no more than so many at a time.
        with suppress(PublishError):
            plc.trigger(f"storm-{sent}")
            sent += 1
    verdicts = {}
    while len(verdicts) < 305:
        verdict = plc.verdict()
        assert verdicts.setdefault(verdict["meas_id"], verdict)["result_id"] == verdict["result_id"]
    reasons = Counter(reason for v in verdicts.values() for reason in v["reasons"])
    assert reasons["overload"] > 30, reasons
    assert plc.ask("calm again")["verdict"] in {"PASS", "FAIL", "INVALID"}
    assert station.stop() == 0
