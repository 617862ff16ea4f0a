"""Another recipe on a running station: prepared beside the old one, taken between two parts, or refused."""

import json
import shutil
import time

import pytest
import yaml
from recipe_copies import rename
from running_station import RunningStation, TestPlc

from edge_agent.messages import encode_command
from edge_agent.recipe_switch import recipe_folder
from edge_agent.station import load_station
from engines.errors import RecipeError

STATION = """\
schema: 1
site: test
station: cell
recipe: tiny
state_dir: state
camera: {uri: "synthetic://plate", mode: triggered}
trigger: {deadline_ms: 50, capture_within_ms: 50, dedupe_window_s: 60}
mqtt: {broker: "mqtt://127.0.0.1:1", consumer: plc}
"""


def select(plc, recipe, correlation_id):
    plc.client.publish(plc.topics.command, encode_command("select_recipe", correlation_id, recipe=recipe))
    while (reply := plc.replies.get(timeout=30))["correlation_id"] != correlation_id:
        pass
    return reply


@pytest.fixture
def recipes(fitted_recipe, tmp_path):
    """Two recipes for the same frames, `tiny` and `other`."""
    folder = tmp_path / "recipes"
    shutil.copytree(fitted_recipe, folder / "tiny")
    shutil.copytree(fitted_recipe, folder / "other")
    rename(folder / "other", name="other")
    return folder


@pytest.fixture
def running(recipes, good_frames_folder, start_agent):
    station, plc = start_agent(recipes / "tiny", good_frames_folder)
    plc.wait_for_state("ready")
    return station, plc


def test_the_other_recipe_is_taken_between_two_parts_and_after_a_restart(running):
    station, plc = running
    assert plc.ask("1", recipe="tiny")["verdict"] == "PASS"
    assert plc.ask("2", recipe="other")["reasons"] == ["wrong_recipe"]
    reply = select(plc, "other", "a")
    assert (reply["ok"], reply["problem"]) == (True, None)
    verdict = plc.ask("3", recipe="other")
    assert (verdict["verdict"], verdict["recipe"]) == ("PASS", "other")
    assert plc.ask("4", recipe="tiny")["reasons"] == ["wrong_recipe"]
    assert plc.wait_for_state("ready")["recipe"] == "other"
    assert station.stop() == 0
    station.start()
    plc.states.clear()
    assert plc.wait_for_state("ready")["recipe"] == "other"
    assert plc.ask("5", recipe="other")["verdict"] == "PASS"


def test_the_other_recipe_is_taken_on_a_line_where_a_part_always_waits(recipes, tmp_path, mosquitto, exit_stack):
    uri = "synthetic://plate?size=96x80&live=1&fps=20"
    station = RunningStation(tmp_path, recipes / "tiny", mosquitto.port, uri).start()
    exit_stack.callback(station.kill)
    plc = TestPlc(mosquitto.port, station.topics)
    exit_stack.callback(plc.stop)
    plc.wait_for_state("ready")
    for number in range(6):
        plc.trigger(f"{number}")
    plc.client.publish(plc.topics.command, encode_command("select_recipe", "a", recipe="other"))
    deadline = time.monotonic() + 30
    while plc.replies.empty():
        assert time.monotonic() < deadline
        number += 1
        plc.trigger(f"{number}")
        plc.verdict()
    assert plc.replies.get()["ok"]


def test_a_station_file_that_names_another_recipe_wins(running, recipes):
    station, plc = running
    assert select(plc, "other", "a")["ok"]
    assert station.stop() == 0
    shutil.copytree(recipes / "tiny", recipes / "third")
    rename(recipes / "third", name="third")
    content = yaml.safe_load(station.config.read_text())
    station.config.write_text(yaml.safe_dump({**content, "recipe": str(recipes / "third")}))
    plc.states.clear()
    station.start()
    assert plc.wait_for_state("ready")["recipe"] == "third"


def damaged(folder):
    (folder / "model.cpu.onnx").write_bytes(b"no model")


def misnamed(folder):
    rename(folder, name="somebody")


@pytest.mark.parametrize(
    ("spoil", "says"), [(damaged, "model.cpu.onnx"), (misnamed, "somebody"), (shutil.rmtree, "holds no recipe 'other'")]
)
def test_a_recipe_that_cannot_be_trusted_leaves_the_old_one_in_force(running, recipes, spoil, says):
    _, plc = running
    spoil(recipes / "other")
    reply = select(plc, "other", "a")
    assert not reply["ok"]
    assert says in reply["problem"]
    verdict = plc.ask("1", recipe="tiny")
    assert (verdict["verdict"], verdict["recipe"]) == ("PASS", "tiny")


@pytest.mark.parametrize("name", ["../tiny", "/etc", "", ".", "x" * 80])
def test_only_a_name_is_a_name(running, name):
    _, plc = running
    if name:
        assert "holds no recipe" in select(plc, name, "a")["problem"]
    else:
        plc.client.publish(plc.topics.command, b'{"command": "select_recipe", "correlation_id": "a", "recipe": ""}')
    assert plc.ask("1", recipe="tiny")["verdict"] == "PASS"


def test_while_one_is_prepared_the_line_goes_on_and_a_second_is_refused(running):
    _, plc = running
    plc.client.publish(plc.topics.command, encode_command("select_recipe", "a", recipe="other"))
    plc.client.publish(plc.topics.command, encode_command("select_recipe", "b", recipe="tiny"))
    verdicts = [plc.ask(str(number)) for number in range(20)]
    assert {v["verdict"] for v in verdicts} == {"PASS"}
    replies = {reply["correlation_id"]: reply for reply in (plc.replies.get(timeout=30) for _ in range(2))}
    assert replies["a"]["ok"]
    assert "is being prepared" in replies["b"]["problem"] or replies["b"]["ok"]
    assert "needs to know which" in plc.command("select_recipe", "c")["problem"]


def test_pause_inspects_nothing_until_resume(running):
    _, plc = running
    assert plc.command("pause", "a")["ok"]
    plc.wait_for_state("halted", "paused")
    assert plc.ask("1")["reasons"] == ["not_ready"]
    assert plc.command("resume", "b")["ok"]
    plc.wait_for_state("ready")
    assert plc.ask("2")["verdict"] == "PASS"


def test_a_damaged_memory_of_the_recipe_is_said_and_not_guessed(running, recipes):
    station, plc = running
    assert select(plc, "other", "a")["ok"]
    assert station.stop() == 0
    (station.folder / "state" / "recipe.json").write_bytes(b"{")
    station.start()
    assert station.process.wait(20) == 78
    assert "recipe.json is damaged" in station.log.read_text()


def test_a_selected_recipe_that_is_gone_is_said_with_the_file_that_remembers_it(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "tiny").mkdir()
    (tmp_path / "station.yaml").write_text(STATION)
    station = load_station(tmp_path / "station.yaml")
    remembered = station.state_dir / "recipe.json"
    remembered.write_text(json.dumps({"recipe": "other", "instead_of": str(station.recipe)}))
    with pytest.raises(RecipeError) as caught:
        recipe_folder(station)
    assert str(caught.value) == (
        f"{tmp_path} holds no recipe 'other'. It was selected last. "
        f"Copy it there, or remove {remembered}, and the station begins with {station.recipe}."
    )
    (tmp_path / "other").mkdir()
    assert recipe_folder(station) == tmp_path / "other"


def test_a_recipe_that_is_selected_ends_the_refusal_of_another_ones_thresholds(running, recipes):
    _, plc = running
    (recipes / "tiny" / "thresholds" / "current").unlink()
    assert not plc.command("reload", "a")["ok"]
    assert plc.wait_for_state("ready", "reload_refused")["degraded"]
    assert select(plc, "other", "b")["ok"]
    assert plc.ask("1", recipe="other")["verdict"] == "PASS"
    assert "reload_refused" not in plc.states[-1]["reasons"]


def test_frames_of_another_size_are_not_this_stations(running, recipes):
    _, plc = running
    rename(recipes / "other", name="other", frame={"width_px": 95, "height_px": 80, "channels": 3})
    assert not select(plc, "other", "a")["ok"]
    assert plc.ask("1", recipe="tiny")["verdict"] == "PASS"
