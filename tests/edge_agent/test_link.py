"""The station's end of MQTT on a real broker: its state is always its own, and only fresh, whole messages count."""

import json
import socket

import pytest
from message_side import DEADLINE_S, wait_until

from edge_agent.link import MqttLink
from edge_agent.messages import encode_state
from edge_agent.mqtt import BrokerAddress
from edge_agent.topics import Topics


@pytest.fixture(params=["3.1.1", 5])
def protocol(request):
    return request.param


def test_the_state_is_published_and_stopped_at_the_end(mosquitto, make_station, make_plc):
    plc = make_plc(mosquitto.port)
    station = make_station(mosquitto.port).start()
    wait_until(lambda: plc.states)
    station.link.set_state(station.state("executing"))
    wait_until(lambda: len(plc.states) == 2)
    station.stop()
    wait_until(lambda: len(plc.states) == 3)
    assert [state["state"] for state in plc.states] == ["ready", "executing", "stopped"]
    late = make_plc(mosquitto.port)
    wait_until(lambda: late.states)
    assert late.states[0]["state"] == "stopped"
    assert late.on(late.topics.state)[0].retained


def test_a_state_set_without_a_broker_is_published_later(make_mosquitto, make_station, make_plc):
    broker = make_mosquitto()
    station = make_station(broker.port).start()
    station.link.set_state(station.state("halted"))
    broker.start()
    plc = make_plc(broker.port)
    wait_until(lambda: plc.states)
    assert plc.states[-1]["state"] == "halted"


def test_a_late_will_of_an_old_session_does_not_mark_this_one_dead(mosquitto, make_station, make_plc):
    station = make_station(mosquitto.port).start()
    plc = make_plc(mosquitto.port)
    wait_until(lambda: [state["state"] for state in plc.states] == ["ready"])
    for boot_id in ("another-boot", station.boot_id):
        seen = len(plc.states)
        plc.client.publish(plc.topics.state, encode_state("offline", boot_id), retain=True)
        wait_until(lambda seen=seen: len(plc.states) >= seen + 2)
        assert [state["state"] for state in plc.states[seen : seen + 2]] == ["offline", "ready"]
    late = make_plc(mosquitto.port)
    wait_until(lambda: late.states)
    assert late.states[0] == json.loads(station.state("ready"))
    assert station.link.foreign_states == 2


def test_a_dead_station_is_offline_with_its_boot(mosquitto, make_station, make_plc):
    station = make_station(mosquitto.port).start()
    plc = make_plc(mosquitto.port)
    wait_until(lambda: plc.states)
    station.link.client._session[0].socket().shutdown(socket.SHUT_RDWR)
    wait_until(lambda: any(state["state"] == "offline" for state in plc.states))
    offline = next(state for state in plc.states if state["state"] == "offline")
    assert offline["boot_id"] == station.boot_id
    wait_until(lambda: plc.states[-1]["state"] == "ready")


def test_two_stations_whose_names_only_join_alike_leave_each_other_alone(mosquitto, exit_stack):
    links = []
    for site, station in (("plant", "1-press4"), ("plant-1", "press4")):
        topics = Topics("edge/v1", site, station)
        links.append(MqttLink(BrokerAddress("127.0.0.1", mosquitto.port), topics, "boot", state=b"{}"))
        exit_stack.callback(links[-1].stop)
        links[-1].start(on_trigger=print, on_ack=print, on_command=print, on_live=int, on_published=print)
    for link in links:
        assert link.client.live.wait(DEADLINE_S)
    assert all(link.publish("here", b"{}").wait(DEADLINE_S) for link in links)
    assert [link.reconnects for link in links] == [0, 0]


def test_a_retained_trigger_is_never_acted_on(mosquitto, make_station, make_plc):
    plc = make_plc(mosquitto.port)
    assert plc.client.publish(plc.topics.trigger, b'{"meas_id": "old"}', retain=True).wait(DEADLINE_S)
    station = make_station(mosquitto.port).start()
    assert station.link.client.live.wait(DEADLINE_S)
    plc.client.publish(plc.topics.trigger, b'{"meas_id": "new"}')
    wait_until(lambda: station.triggers)
    assert [trigger.meas_id for trigger in station.triggers] == ["new"]


def test_malformed_triggers_and_acks_change_nothing(mosquitto, make_station, make_plc):
    station = make_station(mosquitto.port).start()
    plc = make_plc(mosquitto.port)
    assert station.link.client.live.wait(DEADLINE_S)
    for payload in (b"", b"\xff", b"[]", b'{"meas_id": []}', b"x" * 20_000):
        plc.client.publish(plc.topics.trigger, payload)
        plc.client.publish(plc.topics.ack, payload)
    plc.client.publish(plc.topics.trigger, b'{"meas_id": "good"}')
    wait_until(lambda: plc.verdicts)
    assert [trigger.meas_id for trigger in station.triggers] == ["good"]
    assert station.link.client.handler_failures == 0
