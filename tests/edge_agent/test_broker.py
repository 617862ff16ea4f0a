import os
import signal
import socket
import subprocess
import sys

import pytest
from message_side import DEADLINE_S, wait_until

from edge_agent.broker import EmbeddedBroker
from edge_agent.mqtt import BrokerAddress, MqttClient, Will
from engines.errors import ConfigError

pytest.importorskip("amqtt", reason="pip install 'edge-agent[broker]'")


@pytest.fixture(scope="module")
def embedded():
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def connect(embedded):
    clients = []

    def make(client_id, handlers=None, **options):
        client = MqttClient(BrokerAddress("127.0.0.1", embedded.port), client_id, handlers or {}, **options)
        clients.append(client)
        client.start()
        assert client.live.wait(DEADLINE_S), client.error
        return client

    yield make
    for client in clients:
        client.stop()


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_messages_arrive_once_and_in_order(connect):
    received = []
    connect("reader", {"t": received.append})
    writer = connect("writer")
    for number in range(50):
        assert writer.publish("t", str(number).encode()).wait(DEADLINE_S)
    wait_until(lambda: len(received) >= 50)
    assert [int(message.payload) for message in received] == list(range(50))
    assert not any(message.retained for message in received)


def test_retained_state_reaches_a_later_client_and_a_will_replaces_it(connect):
    seen, later = [], []
    connect("watcher", {"state": seen.append})
    station = connect("station", will=Will("state", b"offline"))
    assert station.publish("state", b"ready", retain=True).wait(DEADLINE_S)
    connect("later", {"state": later.append})
    wait_until(lambda: later)
    assert (later[0].payload, later[0].retained) == (b"ready", True)
    station._session[0].socket().shutdown(socket.SHUT_RDWR)
    wait_until(lambda: any(message.payload == b"offline" for message in seen))


def test_it_listens_on_loopback_only(embedded):
    table = subprocess.run(
        ["cat", "/proc/net/tcp", "/proc/net/tcp6"], capture_output=True, text=True, check=False
    ).stdout
    port = f":{embedded.port:04X}"
    local = {line.split()[1] for line in table.splitlines() if len(line.split()) > 3 and line.split()[3] == "0A"}
    assert {address for address in local if address.endswith(port)} == {f"0100007F{port}"}


def test_a_taken_port_says_so(embedded):
    with pytest.raises(ConfigError, match="Choose another port"), EmbeddedBroker(embedded.port):
        pass


def test_it_ends_with_its_context():
    with EmbeddedBroker() as broker:
        assert answers(broker.port)
    assert not answers(broker.port)


PARENT = "import time; from edge_agent.broker import EmbeddedBroker as B; b = B().__enter__(); print(b.port, flush=True); time.sleep(60)"


def test_it_ends_when_its_parent_is_killed():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        port = int(parent.stdout.readline())
        assert answers(port)
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not answers(port))


WITHOUT = """
import sys
sys.modules["amqtt"] = None
from edge_agent.broker import EmbeddedBroker
EmbeddedBroker()
"""


def test_without_amqtt_it_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert "pip install 'edge-agent[broker]'" in done.stderr
