"""The sign of life, for systemd and for the PLC: it ends when a loop stands still, and with nothing else."""

import json
import signal
import socket
import threading
import time
from itertools import pairwise

import pytest

from edge_agent.heartbeat import LONGEST_STANDSTILL_S, Heartbeat
from edge_agent.mqtt import BrokerAddress, MqttClient


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """A service manager's socket, as sd_notify(3) describes it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(str(tmp_path / "notify"))
        wire.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield wire


def notes(manager, seconds):
    until, found = time.monotonic() + seconds, []
    while (left := until - time.monotonic()) > 0:
        manager.settimeout(left)
        try:
            found.append(manager.recv(200).decode())
        except TimeoutError:
            break
    return found


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize("standing", ["inspection", "publisher"])
def test_one_loop_that_stands_still_ends_watchdog_and_life(manager, standing):
    clock, lives = Clock(), []
    turns = {"inspection": 0, "publisher": 0}
    heart = Heartbeat({name: lambda n=name: turns[n] for name in turns}, lives.append, clock=clock)
    for _ in range(10):
        clock.now += 0.5
        turns = {name: count + 1 for name, count in turns.items()}
        assert heart.look()
    assert lives == [1, 2, 3, 4, 5]
    assert set(notes(manager, 0.1)) == {"WATCHDOG=1"}
    looks, fed = [], []
    for _ in range(12):
        clock.now += 0.5
        turns = {name: count + (name != standing) for name, count in turns.items()}
        looks.append(heart.look())
        fed.append(notes(manager, 0.01) == ["WATCHDOG=1"])
    assert fed == looks
    assert looks.count(True) == int(LONGEST_STANDSTILL_S / 0.5)
    assert looks == sorted(looks, reverse=True), "once it stands still, nothing feeds the watchdog"
    turns[standing] += 1
    assert heart.look()
    assert notes(manager, 0.1) == ["WATCHDOG=1"]


def test_who_stands_still_is_named_the_heartbeat_itself_included():
    clock = Clock()
    turns = {"inspection": 0, "publisher": 0}
    heart = Heartbeat({name: lambda n=name: turns[n] for name in turns}, lambda _: None, clock=clock)
    assert heart.standing() == []
    for _ in range(8):
        clock.now += 0.5
        turns["publisher"] += 1
        heart.look()
    assert heart.standing() == ["inspection"]
    turns["inspection"] += 1
    heart.look()
    assert heart.standing() == []
    assert heart.life == 4
    clock.now += LONGEST_STANDSTILL_S
    assert heart.standing() == []
    clock.now += 0.1
    assert heart.standing() == ["heartbeat"]


def test_without_a_service_manager_it_still_counts(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    lives, turns = [], iter(range(100))
    heart = Heartbeat({"loop": lambda: next(turns)}, lives.append)
    heart.look()
    assert lives == [1]


@pytest.fixture
def running(fitted_recipe, good_frames_folder, manager, start_agent):
    station, plc = start_agent(fitted_recipe, good_frames_folder)
    plc.wait_for_state("ready")
    return station, plc


def test_systemd_hears_of_start_life_reload_and_stop(running, manager):
    station, plc = running
    assert "READY=1" in notes(manager, 2.5)
    assert notes(manager, 2.0).count("WATCHDOG=1") >= 3
    station.process.send_signal(signal.SIGHUP)
    said = notes(manager, 1.5)
    reloading = next(n for n in said if n.startswith("RELOADING=1\nMONOTONIC_USEC="))
    assert said.index(reloading) < said.index("READY=1")
    plc.ask("1")
    assert station.stop() == 0
    assert "STOPPING=1" in notes(manager, 0.5)


def test_a_process_that_is_stopped_feeds_nothing_and_no_longer_counts(running, manager, mosquitto):
    station, plc = running
    lives = []
    client = MqttClient(
        BrokerAddress("127.0.0.1", mosquitto.port),
        "health-reader",
        {plc.topics.health: lambda message: lives.append(json.loads(message.payload))},
    )
    client.start()
    try:
        plc.ask("1")
        plc.ask("2")
        until = time.monotonic() + 10
        while not (lives and lives[-1]["verdicts"]["PASS"] == 2) and time.monotonic() < until:
            time.sleep(0.05)
        assert lives[-1]["state"] == "ready"
        assert lives[-1]["verdicts"] == {"PASS": 2, "FAIL": 0, "INVALID": 0}
        assert lives[-1]["latency_ms"]["p50"] > 0
        assert [b["life"] - a["life"] for a, b in pairwise(lives)] == [1] * (len(lives) - 1)
        station.process.send_signal(signal.SIGSTOP)
        notes(manager, 0.7)
        before = len(lives)
        assert "WATCHDOG=1" not in notes(manager, 2.0)
        assert len(lives) <= before + 1
        station.process.send_signal(signal.SIGCONT)
        assert "WATCHDOG=1" in notes(manager, 2.0)
    finally:
        client.stop()


def test_a_look_that_fails_is_not_the_last_one():
    answers = iter([ZeroDivisionError()])

    def turns():
        for problem in answers:
            raise problem
        return time.monotonic_ns()

    beaten = threading.Event()
    heartbeat = Heartbeat({"loop": turns}, lambda life: beaten.set())
    heartbeat.start()
    assert beaten.wait(10)
    heartbeat.stop()
