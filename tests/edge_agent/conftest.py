"""A real Mosquitto, and both sides of it."""

from contextlib import ExitStack

import pytest
from message_side import Plc, StationSide
from mosquitto import Mosquitto, find_mosquitto
from running_station import RunningStation, TestPlc

from edge_agent.topics import Topics


def pytest_report_header():
    return f"mosquitto: {find_mosquitto() or 'missing, MQTT tests are skipped (apt-get install mosquitto)'}"


@pytest.fixture
def make_mosquitto(tmp_path):
    """Make brokers that end with the test."""
    if find_mosquitto() is None:
        pytest.skip("needs Mosquitto: apt-get install mosquitto")
    made = []

    def make(**options):
        made.append(Mosquitto(tmp_path, **options))
        return made[-1]

    yield make
    for broker in made:
        broker.kill()


@pytest.fixture
def mosquitto(make_mosquitto):
    """A running broker for anybody."""
    broker = make_mosquitto()
    broker.start()
    return broker


@pytest.fixture
def topics():
    return Topics("edge/v1", "plant", "cell-1")


@pytest.fixture
def protocol():
    """The version of MQTT of everybody; a test of both overrides it."""
    return "3.1.1"


@pytest.fixture
def make_station(tmp_path, topics, protocol):
    made = []

    def make(port, **options):
        options.setdefault("protocol", protocol)
        made.append(StationSide(port, topics, tmp_path / "outbox.sqlite3", **options))
        return made[-1]

    yield make
    for station in made:
        station.stop()


@pytest.fixture
def make_plc(topics):
    made = []

    def make(port):
        made.append(Plc(port, topics).start())
        return made[-1]

    yield make
    for plc in made:
        plc.client.stop()


@pytest.fixture
def start_agent(tmp_path, mosquitto):
    """Start agents, each on a folder of frames that it sees again and again and with a PLC; they end with the test."""
    with ExitStack() as stack:

        def start(recipe, frames, **changes):
            uri = f"folder://{frames}?loop=true"
            station = RunningStation(tmp_path, recipe, mosquitto.port, uri, **changes).start()
            stack.callback(station.kill)
            plc = TestPlc(mosquitto.port, station.topics)
            stack.callback(plc.stop)
            return station, plc

        yield start


@pytest.fixture
def exit_stack():
    """What is entered here is left with the test."""
    with ExitStack() as stack:
        yield stack
