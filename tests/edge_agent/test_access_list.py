"""The broker that configs/mosquitto describes: a real Mosquitto keeps everybody to what is theirs."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from certificates import Authority
from message_side import DEADLINE_S, wait_until
from mosquitto import _beside
from ports import free_port
from running_station import RunningStation

from edge_agent.cli import main
from edge_agent.command_client import send_command
from edge_agent.messages import encode_command
from edge_agent.mqtt import BrokerAddress, MqttClient
from edge_agent.station import load_station
from edge_agent.tls import TlsFiles
from edge_agent.topics import Topics
from engines.errors import BrokerRefusedError

EXAMPLE = Path(__file__).parents[2] / "configs" / "mosquitto"
TOPICS = Topics("edge/v1", "plant1", "press4")
AGENT = {"state", "verdict", "mask/1", "late/1", "health", "reply"}
PLC = {"trigger", "ack"}
MAY_WRITE = {"press4": AGENT | {"command"}, "plc-press4": PLC, "technician": {"command"}, "stranger": set()}
MAY_READ = {
    "press4": {"state", "trigger", "ack", "command", "reply"},
    "plc-press4": {"state", "verdict", "mask/1", "health"},
    "technician": AGENT | PLC | {"command"},
    "stranger": set(),
}
PASSWORD = "of the plc"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "certs")


@pytest.fixture
def broker(make_mosquitto, authority, tmp_path):
    """The example with the paths and ports of this test, and nothing else changed."""
    authority.issue("broker", "localhost")
    passwords = tmp_path / "passwords"
    passwords.write_text(f"plc-press4:{PASSWORD}\n")
    passwords.chmod(0o600)
    subprocess.run([_beside("mosquitto_passwd"), "-U", str(passwords)], check=True, capture_output=True)
    (tmp_path / "acl").write_text((EXAMPLE / "acl").read_text())
    (tmp_path / "acl").chmod(0o600)
    password_port = free_port()
    config = (EXAMPLE / "mosquitto.conf").read_text()
    config = config.replace("/etc/mosquitto", str(tmp_path)).replace("/var/lib/mosquitto/", f"{tmp_path}/")
    config = re.sub(r"^listener 8884$", f"listener {password_port} 127.0.0.1", config, flags=re.MULTILINE)
    made = make_mosquitto(config=config)
    made.password_port = password_port
    made.start()
    return made


@pytest.fixture
def connect(broker, authority):
    clients = []

    def make(name, handlers=None, *, address=None):
        files = TlsFiles(authority.ca_file, *authority.issue(name))
        address = address or BrokerAddress("localhost", broker.port, tls=files)
        clients.append(MqttClient(address, f"{name}-{len(clients)}", handlers or {}))
        clients[-1].start()
        return clients[-1]

    yield make
    for client in clients:
        client.stop()


def test_everybody_writes_and_reads_what_is_theirs_and_nothing_else(connect):
    received = {name: [] for name in MAY_READ}
    clients = {}
    for name in MAY_READ:
        clients[name] = connect(name, {f"{TOPICS.base}/#": received[name].append, f"end/{name}": print})
        assert clients[name].live.wait(DEADLINE_S), clients[name].error
    for name, client in clients.items():
        for topic in sorted(AGENT | PLC | {"command"}):
            assert client.publish(f"{TOPICS.base}/{topic}", f"{name}".encode()).wait(DEADLINE_S)
    # Behind everything else, to everybody who reads anything.
    for name, topic in (("press4", "state"), ("technician", "command")):
        clients[name].publish(f"{TOPICS.base}/{topic}", b"end").wait(DEADLINE_S)
    for name in ("press4", "plc-press4", "technician"):
        wait_until(lambda name=name: any(message.payload == b"end" for message in received[name]))
    seen = {
        name: {
            (message.payload.decode(), message.topic.removeprefix(f"{TOPICS.base}/"))
            for message in messages
            if message.payload != b"end"
        }
        for name, messages in received.items()
    }
    written = {(writer, topic) for writer, topics in MAY_WRITE.items() for topic in topics}
    assert seen == {name: {one for one in written if one[1] in topics} for name, topics in MAY_READ.items()}


def test_a_plc_without_a_certificate_logs_in_with_its_password_and_nobody_else(connect, broker, authority):
    def address(password, username="plc-press4"):
        tls = TlsFiles(authority.ca_file)
        return BrokerAddress("localhost", broker.password_port, username, password, tls=tls)

    plc = connect("plc", address=address(PASSWORD))
    assert plc.live.wait(DEADLINE_S), plc.error
    for wrong in (address("guessed"), address(PASSWORD, "press4"), address(None, None)):
        client = connect("x", address=wrong)
        wait_until(lambda client=client: client.error is not None)
        assert isinstance(client.error, BrokerRefusedError)
    nameless = connect("x", address=BrokerAddress("localhost", broker.port, tls=TlsFiles(authority.ca_file)))
    wait_until(lambda: nameless.error is not None)
    assert not nameless.generation


def test_another_station_is_out_of_reach(connect):
    received = []
    other = Topics("edge/v1", "plant1", "press5")
    technician = connect("technician", {f"{other.base}/#": received.append})
    agent = connect("press4")
    for client in (technician, agent):
        assert client.live.wait(DEADLINE_S), client.error
    agent.publish(other.verdict, b"press4").wait(DEADLINE_S)
    technician.publish(other.command, b"technician").wait(DEADLINE_S)
    wait_until(lambda: received)
    assert [message.payload for message in received] == [b"technician"]


def test_a_whole_station_needs_no_more_than_the_list_allows(
    tmp_path, fitted_recipe, good_frames_folder, broker, authority, connect
):
    certificate, key = authority.issue("press4")
    tls = {"ca_file": str(authority.ca_file), "cert_file": str(certificate), "key_file": str(key)}
    mqtt = {"broker": f"mqtts://localhost:{broker.port}", "consumer": "plc-press4", "tls": tls}
    uri = f"folder://{good_frames_folder}?loop=true"
    names = {"site": "plant1", "station": "press4"}
    station = RunningStation(tmp_path, fitted_recipe, broker.port, uri, mqtt=mqtt, **names)
    replies, healths = [], []
    technician = connect("technician", {TOPICS.reply: replies.append, TOPICS.health: healths.append})
    certificate, key = authority.issue("plc-press4")
    words = ["watch", "--broker", f"mqtts://localhost:{broker.port}", "--site", "plant1", "--station", "press4"]
    words += ["--tls-ca", str(authority.ca_file), "--tls-cert", str(certificate), "--tls-key", str(key)]
    words += ["--consumer", "plc-press4", "--trigger", "--parts", "3", "--accept-simulated", "--timeout-ms", "3000"]
    station.start()
    try:
        assert main(words) == 0
        technician.publish(TOPICS.command, encode_command("reload", "1"))
        wait_until(lambda: replies)
        assert json.loads(replies[0].payload)["ok"]
        # As `edge-calibrate fit --station` does, with the station's own certificate.
        assert send_command(load_station(station.config), "recalibrate", frames=1)["ok"]
        wait_until(lambda: json.loads(healths[-1].payload)["outbox_depth"] == 0, "an empty outbox")
    finally:
        station.kill()
