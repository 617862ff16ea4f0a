"""A whole agent on MQTT 5 and on 3.1.1, and one that the broker does not let in."""

import time

import pytest
import yaml
from running_station import RunningStation, TestPlc

from edge_agent.cli import main


def wait_for_log(station, *words):
    deadline = time.monotonic() + 20
    while not all(word in station.log.read_text() for word in words):
        assert time.monotonic() < deadline, station.log.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("protocol", ["3.1.1", 5])
def test_a_plc_that_speaks_3_1_1_sees_no_difference(
    protocol, fitted_recipe, good_frames_folder, start_agent, mosquitto
):
    station, plc = start_agent(fitted_recipe, good_frames_folder, mqtt={"protocol": protocol})
    plc.wait_for_state("ready")
    assert plc.ask("1", part_id=7)["verdict"] == "PASS"
    assert plc.command("reload", "1")["ok"]
    boot_id = plc.states[-1]["boot_id"]
    station.process.kill()
    station.process.wait()
    assert plc.wait_for_state("offline")["boot_id"] == boot_id
    station.start()
    plc.wait_for_state("ready")
    mosquitto.kill()
    mosquitto.start()
    seen = len(plc.states)
    deadline = time.monotonic() + 20
    while len(plc.states) == seen or plc.states[-1]["state"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert plc.ask("2")["verdict"] == "PASS"
    assert station.stop() == 0
    plc.wait_for_state("stopped")


@pytest.mark.parametrize("protocol", ["3.1.1", 5])
def test_a_refused_login_is_a_state_until_the_broker_lets_the_agent_in(
    protocol, tmp_path, fitted_recipe, good_frames_folder, make_mosquitto, capsys
):
    broker = make_mosquitto(user=("press4", "right"))
    broker.start()
    uri = f"folder://{good_frames_folder}?loop=true"
    station = RunningStation(tmp_path, fitted_recipe, broker.port, uri, mqtt={"protocol": protocol}).start()
    try:
        wait_for_log(station, "state=ready reasons=mqtt_refused", "refused client 'edge-test:cell', user None")
        main(["doctor", "--config", str(station.config)])
        assert "refused client" in " ".join(capsys.readouterr().out.split())
        broker.kill()
        config = broker._config.read_text()
        broker._config.write_text(config.replace("allow_anonymous false", "allow_anonymous true"))
        broker.start()
        plc = TestPlc(broker.port, station.topics)
        plc.wait_for_state("ready")
        wait_for_log(station, "state=ready reasons=-")
        assert plc.ask("1")["verdict"] == "PASS"
        assert "mqtt_refused" not in plc.states[-1]["reasons"]
        plc.stop()
    finally:
        station.kill()


def test_the_password_is_a_credential_of_the_service(
    tmp_path, fitted_recipe, good_frames_folder, make_mosquitto, monkeypatch
):
    broker = make_mosquitto(user=("press4", "right"))
    broker.start()
    (tmp_path / "mqtt-password").write_text("right\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    login = {"username": "press4", "password": "${cred:mqtt-password}"}
    uri = f"folder://{good_frames_folder}?loop=true"
    station = RunningStation(tmp_path, fitted_recipe, broker.port, uri, mqtt=login).start()
    try:
        wait_for_log(station, "mqtt live", "state=ready")
        assert "right" not in station.log.read_text()
    finally:
        station.kill()


@pytest.mark.parametrize(("text", "is_right"), [("5", True), ("3.1.1", True), ('"5"', False), ("4", False)])
def test_the_station_file_names_one_of_two_versions(text, is_right, tmp_path, capsys):
    content = yaml.safe_load(f"protocol: {text}")
    station = RunningStation(tmp_path, tmp_path / "none", 1, "synthetic://plate", mqtt=content)
    assert main(["check", "--config", str(station.config)]) == 78
    assert ("mqtt.protocol" in capsys.readouterr().err) is not is_right
