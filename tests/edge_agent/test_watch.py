import base64
import json
import signal
import threading
import time

import numpy as np
import pytest
from message_side import DEADLINE_S, wait_until
from ports import free_port

from edge_agent.cli import main
from edge_agent.masks import encode_png

STATION = ["--site", "plant", "--station", "cell-1"]
PLC = ["--consumer", "plc", "--trigger", "--timeout-ms", "10000", "--interval-ms", "5"]


def watch(port, *words):
    return main(["watch", "--broker", f"127.0.0.1:{port}", *STATION, *words])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_part_gets_its_verdict(mosquitto, make_station, tmp_path, capsys):
    station = make_station(mosquitto.port).start()
    file = tmp_path / "parts.jsonl"
    assert watch(mosquitto.port, *PLC, "--parts", "20", "--recipe", "bottle", "--json", str(file)) == 0
    parts = lines(file)
    assert [part["action"] for part in parts] == ["accept"] * 20
    assert [part["part_id"] for part in parts] == [f"part-{number}" for number in range(1, 21)]
    assert all(part["verdict"]["meas_id"] == part["meas_id"] for part in parts)
    assert {type(part["verdict"]["meas_id"]) for part in parts} == {int}
    assert all(0 < part["round_trip_ms"] < 1000 for part in parts)
    assert all(part["triggered_at"] < part["received_at"] for part in parts)
    wait_until(lambda: station.outbox.depth() == 0)
    shown = capsys.readouterr().out
    assert "20 parts: 20 accept: PASS" in shown
    assert "Round trip p50" in shown


def test_a_long_run_shows_a_progress_bar(mosquitto, make_station, capsys):
    make_station(mosquitto.port).start()
    assert watch(mosquitto.port, *PLC[:-1], "21", "--parts", "100") == 0
    assert "100/100" in capsys.readouterr().err


def test_two_runs_in_one_dedupe_window_do_not_meet(mosquitto, make_station):
    make_station(mosquitto.port).start()
    assert [watch(mosquitto.port, *PLC, "--parts", "3") for _ in range(2)] == [0, 0]


def test_silence_is_a_reject_and_the_exit_code_says_try_again(mosquitto, make_station, tmp_path, capsys):
    station = make_station(mosquitto.port).start()
    station.fault = RuntimeError("a bug")
    file = tmp_path / "parts.jsonl"
    assert watch(mosquitto.port, *PLC, "--parts", "2", "--timeout-ms", "80", "--json", str(file)) == 75
    assert [(part["action"], part["why"], part["verdict"]) for part in lines(file)] == [("reject", "timeout", None)] * 2
    assert "2 reject: timeout" in capsys.readouterr().out


def test_another_recipe_is_a_reject_with_its_verdict(mosquitto, make_station, tmp_path):
    make_station(mosquitto.port, recipe="nut").start()
    file = tmp_path / "parts.jsonl"
    assert watch(mosquitto.port, *PLC, "--parts", "1", "--recipe", "bottle", "--json", str(file)) == 0
    assert lines(file)[0]["why"] == "verdict is of recipe 'nut'"


def test_old_verdicts_are_acknowledged_and_decide_nothing(make_mosquitto, make_station):
    broker = make_mosquitto()
    station = make_station(broker.port).start()
    for _ in range(5):
        station.decide()
    broker.start()
    assert watch(broker.port, *PLC[:-1], "50", "--parts", "30") == 0
    wait_until(lambda: station.outbox.depth() == 0)


def test_the_first_trigger_waits_for_ready(mosquitto, make_station):
    station = make_station(mosquitto.port)
    station.link.set_state(station.state("initialized"))
    station.start()
    codes = []
    player = threading.Thread(target=lambda: codes.append(watch(mosquitto.port, *PLC, "--parts", "1")))
    player.start()
    assert station.link.client.live.wait(DEADLINE_S)
    player.join(0.3)
    assert (codes, station.triggers) == ([], [])
    station.link.set_state(station.state("ready"))
    player.join(DEADLINE_S)
    assert codes == [0]


def test_a_station_that_never_gets_ready_is_an_error(mosquitto, capsys):
    assert watch(mosquitto.port, *PLC, "--parts", "1", "--start-timeout-s", "0.3") == 75
    assert "is silent, not ready. Check --site" in capsys.readouterr().err


def test_a_station_without_a_sign_of_life_is_an_error(mosquitto, make_station, capsys):
    station = make_station(mosquitto.port)
    station.connect()
    assert watch(mosquitto.port, *PLC, "--parts", "1", "--start-timeout-s", "1.5") == 75
    assert "is ready, without a sign of life" in capsys.readouterr().err


def test_when_the_agent_hangs_parts_are_rejected_until_it_lives_again(
    fitted_recipe, good_frames_folder, start_agent, mosquitto, tmp_path
):
    station, plc = start_agent(fitted_recipe, good_frames_folder)
    plc.acknowledges = False
    plc.wait_for_state("ready")
    file = tmp_path / "parts.jsonl"
    words = [
        "watch",
        "--broker",
        f"127.0.0.1:{mosquitto.port}",
        "--site",
        "test",
        "--station",
        "cell",
        *PLC[:-1],
        "200",
    ]
    words += ["--accept-simulated", "--timeout-ms", "20000", "--json", str(file), "--parts", "50"]
    player = threading.Thread(target=main, args=(words,))
    player.start()

    def results():
        # The last line may be half written.
        return [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]

    wait_until(lambda: file.exists() and len(results()) >= 3)
    assert {result["action"] for result in results()} == {"accept"}
    station.process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        wait_until(lambda: results()[-1]["why"] == "no sign of life")
        # The last sign of life was up to a second old.
        assert 1.5 < time.monotonic() - stopped < 4.5
        count = len(results())
        wait_until(lambda: len(results()) > count + 5)
        assert {(one["action"], one["why"]) for one in results()[count:]} == {("reject", "no sign of life")}
    finally:
        station.process.send_signal(signal.SIGCONT)
        player.join(2 * DEADLINE_S)
    assert (results()[-1]["action"], results()[-1]["why"]) == ("accept", "PASS")


def test_an_absent_broker_is_an_error(capsys):
    assert watch(free_port(), "--parts", "1", "--start-timeout-s", "0.5") == 75
    assert "cannot be reached" in capsys.readouterr().err


def test_a_wrong_login_is_an_error(make_mosquitto, capsys, monkeypatch):
    broker = make_mosquitto(user=("plc", "secret"))
    broker.start()
    monkeypatch.setenv("PLC_PASSWORD", "wrong")
    words = ["--parts", "1", "--start-timeout-s", "0.5", "--username", "plc", "--password-env", "PLC_PASSWORD"]
    assert watch(broker.port, *words) == 75
    shown = capsys.readouterr().err
    assert "Not authorized" in shown
    assert "wrong" not in shown


def test_a_login_from_the_environment_works(make_mosquitto, make_station, monkeypatch):
    broker = make_mosquitto(user=("plc", "secret"))
    broker.start()
    make_station(broker.port, username="plc", password="secret").start()
    monkeypatch.setenv("PLC_PASSWORD", "secret")
    assert watch(broker.port, *PLC, "--parts", "1", "--username", "plc", "--password-env", "PLC_PASSWORD") == 0


def test_looking_acknowledges_nothing(mosquitto, make_station, capsys):
    station = make_station(mosquitto.port).start()
    viewer = threading.Thread(target=watch, args=(mosquitto.port, "--parts", "2"))
    viewer.start()
    while viewer.is_alive():
        station.decide()
        viewer.join(0.05)
    shown = capsys.readouterr().out
    assert shown.count(" PASS seq=") == 2
    assert " state " in shown
    assert station.outbox.depth() >= 2


def test_a_mask_on_its_own_topic_ends_up_beside_its_verdict(mosquitto, make_station, tmp_path):
    station = make_station(mosquitto.port).start()
    file = tmp_path / "verdicts.jsonl"
    png = encode_png(np.eye(8, dtype=bool))
    consumer = threading.Thread(
        target=watch, args=(mosquitto.port, "--consumer", "plc", "--parts", "1", "--json", str(file))
    )
    consumer.start()
    station.decide(mask_png=png)
    consumer.join(DEADLINE_S)
    wait_until(lambda: station.outbox.depth() == 0)
    assert base64.b64decode(lines(file)[0]["mask_png"]) == png


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--trigger"], "--trigger needs --consumer"),
        (["--parts", "0"], "--parts must be at least 1"),
        (["--password-env", "NO_SUCH_VARIABLE"], "export NO_SUCH_VARIABLE"),
    ],
)
def test_words_that_contradict_each_other_are_usage_errors(words, complaint, capsys):
    assert watch(1, *words) == 64
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    "broker", ["localhost", "localhost:", ":1883", "localhost:x", "localhost:0", "localhost:65536"]
)
def test_a_broker_without_a_port_is_a_usage_error(broker, capsys):
    assert main(["watch", "--broker", broker, *STATION]) == 64
    assert "HOST:PORT" in capsys.readouterr().err
