"""A running station as Prometheus, a supervisor and a PLC see it."""

import http.client
import json
import os
import re
import signal
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from log_reader import parse
from ports import free_port
from prometheus_client.parser import text_string_to_metric_families

from edge_agent import __version__
from edge_agent.drift import FIGURES
from edge_agent.health import StationHealth
from edge_agent.heartbeat import Heartbeat
from edge_agent.inspection import REASONS
from edge_agent.messages import encode_health
from edge_agent.metrics import Metrics, Vitals
from edge_agent.mqtt import BrokerAddress, MqttClient
from edge_agent.sensors import Readings
from edge_agent.tally import Tally
from engines.errors import OutboxError

WITHIN_S = 20.0
STAGES = {"retrieve", "check", "infer", "decide", "enqueue"}


def ask(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode()


def scrape(port):
    """Return every sample of the page, as Prometheus reads it: {(name, label values...): value}."""
    status, page = ask(port, "/metrics")
    assert status == 200
    families = [*text_string_to_metric_families(page)]
    assert len({family.name for family in families}) == len(families)
    samples = {}
    for family in families:
        assert family.documentation
        assert family.type != "unknown"
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in samples
            samples[key] = sample.value
    return samples


def wait_for(answer, condition):
    until = time.monotonic() + WITHIN_S
    while not condition(found := answer()):
        assert time.monotonic() < until, found
        time.sleep(0.02)
    return found


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def start(start_agent, fitted_recipe, good_frames_folder, port):
    def start(**changes):
        return start_agent(fitted_recipe, good_frames_folder, health={"port": port}, **changes)

    return start


@pytest.fixture
def running(start):
    station, plc = start()
    plc.wait_for_state("ready")
    return station, plc


@pytest.fixture
def health_of(mosquitto):
    """Collect a station's `health` messages."""
    with ExitStack() as stack:

        def listen(topics):
            messages = []
            handlers = {topics.health: lambda message: messages.append(message.payload)}
            client = MqttClient(BrokerAddress("127.0.0.1", mosquitto.port), "health-reader", handlers)
            client.start()
            stack.callback(client.stop)
            return messages

        yield listen


def test_the_metrics_agree_with_the_verdicts(running, port):
    _, plc = running
    verdicts = [plc.ask(str(number)) for number in range(5)]
    assert [v["verdict"] for v in verdicts] == ["PASS"] * 5
    assert plc.ask("x", recipe="another")["reasons"] == ["wrong_recipe"]
    found = wait_for(
        lambda: scrape(port), lambda s: s["edge_agent_verdicts_total", "INVALID"] and not s["edge_agent_outbox_depth",]
    )

    assert {key[1]: value for key, value in found.items() if key[0] == "edge_agent_verdicts_total"} == {
        "PASS": 5,
        "FAIL": 0,
        "INVALID": 1,
    }
    invalid = {key[1]: value for key, value in found.items() if key[0] == "edge_agent_invalid_total"}
    assert invalid == {**dict.fromkeys(REASONS, 0), "wrong_recipe": 1}
    assert found["edge_agent_verdict_latency_seconds_count",] == 6
    told_s = sum(v["latency_ms"] for v in verdicts) / 1e3
    assert told_s < found["edge_agent_verdict_latency_seconds_sum",] < told_s + 1
    counts = {key[1]: value for key, value in found.items() if key[0] == "edge_agent_stage_duration_seconds_count"}
    assert counts == {**dict.fromkeys(STAGES, 5), "enqueue": 6}
    assert found["edge_agent_outbox_oldest_seconds",] == 0

    assert {key[1]: value for key, value in found.items() if key[0] == "edge_agent_state"} == {
        **dict.fromkeys(("preoperational", "initialized", "executing", "halted", "error", "offline", "stopped"), 0),
        "ready": 1,
    }
    (build,) = [key for key in found if key[0] == "edge_agent_build_info"]
    state = plc.states[-1]
    assert set(build[1:]) == {
        str(state[key]) for key in ("version", "recipe", "recipe_revision", "threshold_rev", "model_sha256")
    }
    assert found["edge_agent_test_pieces_total", "passed"] >= 1
    assert found["edge_agent_test_pieces_total", "failed"] == 0
    assert (found["edge_agent_camera_up",], found["edge_agent_mqtt_up",]) == (1, 1)
    assert found["edge_agent_camera_frames_skipped_total",] == 0
    assert (found["edge_agent_camera_reconnects_total",], found["edge_agent_mqtt_reconnects_total",]) == (0, 0)
    assert found["process_resident_memory_bytes",] > 1e7
    later = wait_for(lambda: scrape(port), lambda s: s["edge_agent_life_total",] > found["edge_agent_life_total",])
    assert later["edge_agent_verdicts_total", "PASS"] == 5


def test_what_nobody_acknowledges_grows_old(start, port):
    _, plc = start()
    plc.acknowledges = False
    plc.wait_for_state("ready")
    plc.ask("1")
    found = wait_for(lambda: scrape(port), lambda s: s["edge_agent_outbox_oldest_seconds",] > 0.5)
    assert found["edge_agent_outbox_depth",] == 1


def test_ready_follows_the_camera(running, port):
    station, plc = running
    assert ask(port, "/readyz") == (200, '{"state": "ready", "reasons": []}\n')
    (child,) = Path(f"/proc/{station.process.pid}/task/{station.process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    _, content = wait_for(lambda: ask(port, "/readyz"), lambda answer: answer[0] == 503)
    assert json.loads(content)["state"] in {"error", "initialized"}
    assert {"camera_lost", "camera_opening"} & {*json.loads(content)["reasons"]}
    assert ask(port, "/healthz")[0] == 200, "a lost camera is no standstill"
    wait_for(lambda: ask(port, "/readyz"), lambda answer: answer[0] == 200)
    found = scrape(port)
    assert (found["edge_agent_camera_up",], found["edge_agent_camera_reconnects_total",]) == (1, 1)
    assert plc.ask("1")["verdict"] == "PASS"


def test_a_halted_station_is_not_ready_until_it_is_resumed(start, port):
    _, plc = start(alarms={"max_consecutive_invalid": 2}, trigger={"capture_within_ms": 1, "deadline_ms": 1})
    plc.wait_for_state("ready")
    for number in range(2):
        assert plc.ask(str(number))["verdict"] == "INVALID"
    plc.wait_for_state("halted")
    status, content = ask(port, "/readyz")
    assert (status, json.loads(content)["state"]) == (503, "halted")
    assert "max_consecutive_invalid" in json.loads(content)["reasons"]
    assert scrape(port)["edge_agent_reason", "max_consecutive_invalid"] == 1
    plc.command("resume", "1")
    wait_for(lambda: ask(port, "/readyz"), lambda answer: answer[0] == 200)


def test_without_a_broker_no_trigger_can_come(running, port, mosquitto):
    mosquitto.kill()
    _, content = wait_for(lambda: ask(port, "/readyz"), lambda answer: answer[0] == 503)
    assert json.loads(content)["reasons"][0] == "mqtt_not_connected"
    assert scrape(port)["edge_agent_mqtt_up",] == 0
    assert ask(port, "/healthz") == (200, '{"standing": []}\n')
    mosquitto.start()
    wait_for(lambda: ask(port, "/readyz"), lambda answer: answer[0] == 200)
    assert scrape(port)["edge_agent_mqtt_reconnects_total",] == 1


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def stand():
    """The health of a station that is all made up but for what is tried here."""
    turns, clock = {"inspection": 0, "publisher": 0, "deadline": 0}, Clock()
    heartbeat = Heartbeat({name: lambda n=name: turns[n] for name in turns}, lambda _: None, clock=clock)
    readings = Readings(
        {f"a-thermal-zone-no-{n:02d}": 40.0 + n / 7 for n in range(40)},
        {f"cpufreq-throttle-{n:02d}": True for n in range(40)},
        {"oc1": 3},
        {"VDD_IN": 5.25},
    )
    tally = Tally()
    tally._verdicts.update(dict.fromkeys(("PASS", "FAIL", "INVALID"), 10**12))
    tally._reasons.update(dict.fromkeys(REASONS, 10**12))
    vitals = Vitals(
        state=SimpleNamespace(
            name="error", is_inspecting=True, reasons=lambda: [f"drift_something{n}" for n in range(16)]
        ),
        tally=tally,
        watch=SimpleNamespace(drift=lambda: dict.fromkeys(FIGURES, 1.23456)),
        live=SimpleNamespace(
            tested={"passed": 3, "failed": 0},
            recipe=SimpleNamespace(name='a "recipe"\n', revision=2),
            thresholds=SimpleNamespace(name="r0001"),
            runtime=SimpleNamespace(model_sha256="ab" * 32),
        ),
        outbox=SimpleNamespace(depth=lambda: 10**9, oldest_age_s=lambda: 12.5),
        camera=SimpleNamespace(is_open=True, reconnects=0, skipped=0),
        link=SimpleNamespace(is_live=True, reconnects=0),
        keeper=SimpleNamespace(content=lambda: {"dropped": 2, "failed": 1, "archive_mb": 10**6}),
        heartbeat=heartbeat,
        sensors=SimpleNamespace(latest=lambda: readings),
    )
    station = SimpleNamespace(camera=SimpleNamespace(mode="triggered"), health=SimpleNamespace(port=None))
    health = StationHealth(station, vitals)
    return SimpleNamespace(health=health, vitals=vitals, turns=turns, clock=clock, heartbeat=heartbeat)


def test_a_loop_that_stands_still_is_named_and_nothing_is_ready(stand):
    for _ in range(8):
        stand.clock.now += 0.5
        stand.turns["inspection"] += 1
        stand.turns["deadline"] += 1
        stand.heartbeat.look()
    answer = stand.health.liveness()
    assert (answer.status, json.loads(answer.content)) == (503, {"standing": ["publisher"]})
    answer = stand.health.readiness()
    assert answer.status == 503
    assert json.loads(answer.content)["reasons"][0] == "standstill_publisher"
    stand.turns["publisher"] += 1
    stand.heartbeat.look()
    assert stand.health.liveness().status == stand.health.readiness().status == 200
    stand.clock.now += 3.1
    assert json.loads(stand.health.liveness().content) == {"standing": ["heartbeat"]}


def test_however_much_there_is_to_say_the_message_stays_below_4_kb(stand):
    facts = stand.health.facts()
    assert len(encode_health(2**31, str(uuid.uuid4()), "preoperational", **facts)) < 4096
    assert len(facts["temperatures_c"]) == len(facts["throttled"]) == 16
    assert facts["temperatures_c"]["a-thermal-zone-no-39"] == 45.6
    assert facts["drift"] == dict.fromkeys(FIGURES, 1.235)


def families_of(vitals):
    return {family.name: family for family in text_string_to_metric_families(Metrics(vitals).page().decode())}


def test_sensors_are_told_under_their_names(stand):
    families = families_of(stand.vitals)
    told = {name: {(*s.labels.values(), s.value) for s in family.samples} for name, family in families.items()}
    assert ("a-thermal-zone-no-07", 41.0) in told["edge_agent_temperature_celsius"]
    assert len(told["edge_agent_temperature_celsius"]) == len(told["edge_agent_throttled"]) == 40
    assert told["edge_agent_overcurrent_events"] == {("oc1", 3.0)}
    assert told["edge_agent_power_watts"] == {("VDD_IN", 5.25)}
    assert told["edge_agent_drift_ratio"] == {(figure, 1.23456) for figure in FIGURES}
    (build,) = families["edge_agent_build_info"].samples
    assert build.labels == {
        "version": __version__,
        "recipe": 'a "recipe"\n',
        "recipe_revision": "2",
        "threshold_rev": "r0001",
        "model_sha256": "ab" * 6,
    }


def test_without_sensors_and_with_an_outbox_that_cannot_be_read_the_rest_is_told(stand):
    def fail():
        raise OutboxError("the disk is gone.", fix="Mount it.")

    stand.vitals.outbox.oldest_age_s = fail
    stand.vitals.sensors.latest = Readings
    families = families_of(stand.vitals)
    assert "edge_agent_outbox_oldest_seconds" not in families
    assert families["edge_agent_temperature_celsius"].samples == []
    assert families["edge_agent_outbox_depth"].samples[0].value == 1e9


def test_every_metric_is_documented_and_no_rule_asks_for_another(stand):
    document = (Path(__file__).parents[2] / "docs" / "health.md").read_text()
    stand.vitals.tally.add_stages({"infer": 1})
    page = Metrics(stand.vitals).page().decode()
    rows = set(re.findall(r"`(edge_agent_\w+)`", document))
    types = dict(re.findall(r"^# TYPE (edge_agent_\w+) (\w+)$", page, re.MULTILINE))
    assert set(types) <= rows
    samples = set(re.findall(r"^(\w+)", page, re.MULTILINE))
    configuration = [
        yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    ]
    rules = [rule for part in configuration for group in part.get("groups", []) for rule in group["rules"]]
    assert len(rules) >= 10
    for rule in rules:
        asked = set(re.findall(r"\b(?:edge_agent|process)_\w+", rule["expr"]))
        assert asked <= samples, rule["alert"]


def threads_of(station):
    return len([*Path(f"/proc/{station.process.pid}/task").iterdir()])


def test_slow_and_many_clients_neither_delay_verdicts_nor_cost_threads(running, port):
    station, plc = running
    for number in range(20):
        plc.ask(f"alone-{number}")
    scrape(port)
    alone_ms = sorted(plc.ask(f"quiet-{number}")["latency_ms"] for number in range(40))
    threads = threads_of(station)
    with ExitStack() as stack:
        for _ in range(50):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            slow.sendall(b"GET /metr")
        with ThreadPoolExecutor(50) as clients:
            pages = [clients.submit(ask, port, "/metrics") for _ in range(50)]
            crowded_ms = sorted(plc.ask(f"crowd-{number}")["latency_ms"] for number in range(40))
            assert threads_of(station) == threads
            stack.close()
            assert {page.result()[0] for page in pages} == {200}
    assert threads_of(station) == threads
    # Two medians of a shared machine: a client that held a part up would cost it seconds.
    assert crowded_ms[20] < alone_ms[20] + 50


def test_without_the_part_in_the_station_file_nothing_listens(start_agent, fitted_recipe, good_frames_folder):
    station, plc = start_agent(fitted_recipe, good_frames_folder)
    plc.wait_for_state("ready")
    inodes = {
        line.split()[9]
        for line in Path(f"/proc/{station.process.pid}/net/tcp").read_text().splitlines()
        if " 0A " in line
    }
    links = {str(link.readlink()) for link in Path(f"/proc/{station.process.pid}/fd").iterdir()}
    assert not {f"socket:[{inode}]" for inode in inodes} & links


def test_a_port_that_is_taken_stops_no_inspection_and_is_said(start, port):
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        station, plc = start()
        state = plc.wait_for_state("ready", "health_endpoint")
        assert state["degraded"]
        assert plc.ask("1")["verdict"] == "PASS"
    assert "choose another health.port." in station.log.read_text()


def test_the_health_message_tells_sensors_and_drift_in_less_than_4_kb(running, health_of):
    _, plc = running
    messages = health_of(plc.topics)
    plc.ask("1")
    payload = wait_for(lambda: messages[-1:], lambda last: last and json.loads(last[0])["verdicts"]["PASS"])[0]
    content = json.loads(payload)
    assert len(payload) < 4096
    assert isinstance(content["temperatures_c"], dict)
    assert content["throttled"] is None or isinstance(content["throttled"], list)
    assert content["drift"] == {}, "the recipe has too few good parts to watch drift"


def test_the_log_of_a_part_is_read_by_a_simple_parser(running):
    station, plc = running
    verdict = plc.ask("part 7")
    assert station.stop() == 0
    lines = [parse(line) for line in station.log.read_text().splitlines()]
    assert all({"time", "level", "thread"} < {*line} for line in lines)
    (part,) = [line for line in lines if "verdict" in line]
    assert {key: part[key] for key in ("verdict", "reasons", "seq", "meas_id", "score")} == {
        "verdict": "PASS",
        "reasons": "-",
        "seq": str(verdict["seq"]),
        "meas_id": "part 7",
        "score": f"{verdict['score']:.3f}",
    }
    assert {f"{stage}_ms" for stage in STAGES} < {*part}
    assert [line["state"] for line in lines if "state" in line][-1] == "stopped"
