"""New thresholds while the line goes on: the agent collects, a person labels what was rejected, `fit` proposes."""

import csv
import json
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from message_side import wait_until

from calibrate.cli import main as edge_calibrate
from edge_agent.collection import (
    FOLDER,
    Collection,
    CollectionStatus,
    collections_below,
    end_abandoned,
    next_folder,
    read_status,
)
from edge_agent.messages import encode_command
from edge_agent.revisions import name_in_force
from edge_agent.thresholds import load_thresholds

RATE = "0.1"


@pytest.fixture
def recipe(fitted_recipe, tmp_path):
    return shutil.copytree(fitted_recipe, tmp_path / "recipe")


@pytest.fixture
def frames(good_frames_folder, tmp_path):
    """New good parts, so that the network knows none of them, and every eighth with a dark bar."""
    folder = tmp_path / "line"
    folder.mkdir()
    for number, path in enumerate(sorted(good_frames_folder.glob("*.png"))):
        frame = cv2.imread(str(path))
        frame[0, 0] = number
        if number % 8 == 5:
            frame[30:46, 30:50] = 0
        cv2.imwrite(str(folder / path.name), frame)
    return folder


def feed(plc, over):
    number = 0
    # At a line's pace: faster than the disk takes frames, a collection ends.
    while not over.wait(0.1):
        number += 1
        with suppress(Exception):
            plc.ask(f"fed-{number}", part_id=f"p{number}")


@pytest.fixture
def line(recipe, frames, start_agent):
    """A station whose parts come one after the other until the test ends."""
    station, plc = start_agent(recipe, frames)
    plc.wait_for_state("ready")
    over = threading.Event()
    feeding = threading.Thread(target=feed, args=(plc, over))
    feeding.start()
    yield station, plc
    over.set()
    feeding.join(30)


def fit(station, recipe, *more):
    return edge_calibrate(["fit", str(recipe), "--station", str(station.config), "--false-reject-rate", RATE, *more])


def recalibrate(plc, correlation_id, frames):
    plc.client.publish(plc.topics.command, encode_command("recalibrate", correlation_id, frames=frames))
    while (reply := plc.replies.get(timeout=20))["correlation_id"] != correlation_id:
        pass
    return reply


def newest(station):
    return collections_below(station.folder / "state")[-1]


def test_what_is_collected_while_the_line_goes_on_becomes_a_proposal(line, recipe, tmp_path, capsys):
    station, plc = line
    page = tmp_path / "fit.html"
    assert fit(station, recipe, "--frames", "36", "--html", str(page)) == 0
    folder = newest(station)
    status = read_status(folder)
    assert (status.ended, status.collected, status.threshold_rev) == ("complete", 36, "r0001")
    with (folder / "frames.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["file"] for row in rows] == [f"{n:06}.png" for n in range(36)]
    parts = [int(row["part_id"].removeprefix("p")) for row in rows]
    assert parts == list(range(parts[0], parts[0] + 36)), "every consecutive one"
    rejected = sorted(path.name for path in (folder / "rejected").iterdir())
    assert rejected == [row["file"] for row in rows if row["verdict"] == "FAIL"]
    assert len(rejected) >= 4

    said = capsys.readouterr()
    assert f"{len(rejected)} rejected frames lie in" in said.err
    assert "Nothing is promised" in said.out
    assert "not in force yet" in said.out
    assert name_in_force(recipe) == "r0001"
    assert load_thresholds(recipe, name="r0002").calibration.promise.void
    assert "Nothing is promised" in page.read_text()
    assert page.read_text().count("what stands out") >= len(rejected)

    for path in (folder / "rejected").iterdir():
        path.rename(folder / "defective" / path.name)
    assert fit(station, recipe) == 0
    assert "Promise: of new good parts" in capsys.readouterr().out
    calibration = load_thresholds(recipe, name="r0003").calibration
    assert not calibration.promise.void
    assert sorted(calibration.excluded) == rejected
    assert name_in_force(recipe) == "r0001", "nothing is put in force without a person"
    assert plc.command("resume", "1")["ok"]


def test_the_newest_collection_is_taken_and_not_what_a_wrong_clock_has_named(line, recipe, capsys):
    station, _ = line
    old = Collection(
        station.folder / "state" / FOLDER / "29990101T000000Z",
        CollectionStatus(recipe="another", threshold_rev="r0001", mode="triggered", wanted=20),
    )
    old.end("complete")
    (old.folder.parent / "zzz").mkdir()
    assert fit(station, recipe, "--frames", "24") == 0
    assert fit(station, recipe) == 0
    assert f"Taken is the newest collection, {old.folder}-0001." in capsys.readouterr().err


def test_collections_of_one_second_are_kept_apart_and_in_their_order(tmp_path):
    folders = []
    for _ in range(12):
        folders.append(next_folder(tmp_path))
        Collection(folders[-1], CollectionStatus("plate", "r0001", "triggered", 20))
    assert collections_below(tmp_path) == folders


def test_an_agent_that_collects_elsewhere_is_said(line, recipe, tmp_path, capsys):
    station, _ = line
    content = yaml.safe_load(station.config.read_text())
    station.config.write_text(yaml.safe_dump({**content, "state_dir": str(tmp_path / "elsewhere")}))
    assert fit(station, recipe, "--frames", "24") == 66
    assert f"collects, but not below {tmp_path / 'elsewhere'}" in capsys.readouterr().err


def test_a_rejected_part_that_a_person_calls_good_counts(line, recipe, capsys):
    station, _ = line
    assert fit(station, recipe, "--frames", "24") == 0
    folder = newest(station)
    first, *others = sorted((folder / "rejected").iterdir())
    first.rename(folder / "good" / first.name)
    for path in others:
        path.rename(folder / "defective" / path.name)
    capsys.readouterr()
    assert fit(station, recipe) == 0 or "the test piece" in capsys.readouterr().err


def test_the_command_says_why_it_cannot_be_obeyed(line):
    _, plc = line
    assert "how many frames" in plc.command("recalibrate", "1")["problem"]

    assert recalibrate(plc, "2", 5000)["ok"]
    assert "a collection runs" in recalibrate(plc, "3", 10)["problem"]
    assert plc.command("reload", "4")["ok"]
    time.sleep(1.1)
    assert recalibrate(plc, "5", 10)["ok"]


def test_a_collection_ends_where_the_thresholds_change_or_the_agent_stops(line, recipe):
    station, plc = line
    plc.client.publish(plc.topics.command, encode_command("recalibrate", "1", frames=5000))
    wait_until(lambda: collections_below(station.folder / "state"))
    wait_until(lambda: len((newest(station) / "frames.csv").read_text().splitlines()) > 5)
    assert plc.command("reload", "2")["ok"]
    wait_until(lambda: read_status(newest(station)).ended == "reload")
    status = read_status(newest(station))
    assert status.collected == len(list((newest(station) / "frames").glob("*.png"))) >= 5


def test_a_collection_that_a_crash_left_is_ended_at_the_next_start(tmp_path):
    folder = tmp_path / "recalibration" / "20260101T000000Z"
    folder.mkdir(parents=True)
    content = {"recipe": "a", "threshold_rev": "r0001", "mode": "triggered", "wanted": 9, "collected": 0, "ended": None}
    (folder / "collection.json").write_text(json.dumps(content))
    (folder / "frames.csv").write_text("file,result_id,part_id,verdict,score\n000000.png,x,,PASS,1\n")
    (folder / "frames").mkdir()
    for number in range(2):
        (folder / "frames" / f"{number:06}.png").write_bytes(b"x")
    end_abandoned(tmp_path)
    assert [path.name for path in (folder / "frames").iterdir()] == ["000000.png"], "one without a line is not good"
    assert (read_status(folder).ended, read_status(folder).collected) == ("restart", 1)


def test_without_a_collection_the_message_says_how_to_get_one(recipe, tmp_path, capsys, start_agent, frames):
    station, _ = start_agent(recipe, frames)
    assert fit(station, recipe) == 66
    assert "--frames N" in capsys.readouterr().err


def test_a_station_that_does_not_run_is_said(recipe, tmp_path, capsys, start_agent, frames):
    station, _ = start_agent(recipe, frames)
    station.kill()
    assert fit(station, recipe, "--frames", "20") == 75
    assert "does not reply" in capsys.readouterr().err


@pytest.fixture
def changed_frames(frames):
    """Parts in another light: every one is rejected."""
    for path in frames.glob("*.png"):
        cv2.imwrite(str(path), cv2.convertScaleAbs(cv2.imread(str(path)), alpha=0.7))
    return frames


def test_a_line_that_rejects_everything_is_collected_from_and_halts_only_then(recipe, changed_frames, start_agent):
    station, plc = start_agent(recipe, changed_frames, alarms={"max_consecutive_fail": 3})
    plc.wait_for_state("ready")
    assert [plc.ask(str(number))["verdict"] for number in range(3)] == ["FAIL"] * 3
    plc.wait_for_state("halted", "max_consecutive_fail")
    problem = recalibrate(plc, "0", 20)["problem"]
    assert "no part is inspected: the state is halted (max_consecutive_fail)" in problem
    assert "Send 'resume' or 'reload'" in problem
    assert collections_below(station.folder / "state") == []

    assert plc.command("resume", "1")["ok"]
    assert recalibrate(plc, "2", 20)["ok"]
    assert [plc.ask(f"collected {number}")["verdict"] for number in range(20)] == ["FAIL"] * 20
    wait_until(lambda: read_status(newest(station)).ended)
    assert (read_status(newest(station)).ended, read_status(newest(station)).collected) == ("complete", 20)
    assert plc.ask("one more")["verdict"] == "FAIL"
    plc.wait_for_state("halted", "max_consecutive_fail")


def test_a_halt_ends_a_collection_so_that_nobody_waits_for_frames_that_do_not_come(recipe, frames, start_agent):
    station, plc = start_agent(recipe, frames)
    plc.wait_for_state("ready")
    assert recalibrate(plc, "1", 20)["ok"]
    plc.ask("1")
    assert plc.command("pause", "2")["ok"]
    wait_until(lambda: read_status(newest(station)).ended == "paused")
    assert read_status(newest(station)).collected == 1


def archived(folder, kind):
    return sorted(Path(folder).rglob(f"{kind}/*.png"))


def test_rejects_and_a_sample_of_passed_parts_are_archived_and_can_be_replayed(recipe, frames, start_agent, tmp_path):
    archive = {"folder": str(tmp_path / "archive"), "max_mb": 50, "keep_days": 30, "pass_every": 10}
    station, plc = start_agent(recipe, frames, archive=archive)
    plc.wait_for_state("ready")
    verdicts = [plc.ask(str(number)) for number in range(40)]
    fails = [v for v in verdicts if v["verdict"] == "FAIL"]
    wait_until(lambda: len(archived(archive["folder"], "FAIL")) == len(fails) >= 5)
    wait_until(lambda: len(archived(archive["folder"], "PASS")) == 3)
    kept = archived(archive["folder"], "FAIL")
    told = [json.loads(path.with_suffix(".json").read_bytes()) for path in kept]
    assert [one["result_id"] for one in told] == [v["result_id"] for v in fails]
    for path, verdict in zip(kept, fails, strict=True):
        source = cv2.imread(str(sorted(frames.glob("*.png"))[verdict["frame_seq"]]))
        assert np.array_equal(cv2.imread(str(path)), source), "the very frame that was judged"
    assert station.stop() == 0
