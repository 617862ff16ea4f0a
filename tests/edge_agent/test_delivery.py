"""From the outbox over a real broker to the consumer and back: nothing is lost, and nothing old looks new."""

import json

from message_side import wait_until

from edge_agent.messages import encode_ack


def acknowledge_everything(plc, consumer="plc", *, wants_masks=False):
    def take(message):
        plc.messages.append(message)
        if message.topic == plc.topics.verdict:
            result_id = json.loads(message.payload)["result_id"]
            if not wants_masks or plc.on(plc.topics.mask(result_id)):
                plc.client.publish(plc.topics.ack, encode_ack(consumer, [result_id]))

    plc.client._handlers[f"{plc.topics.base}/#"] = take


def ask(plc, *meas_ids, part="p"):
    for meas_id in meas_ids:
        plc.client.publish(plc.topics.trigger, json.dumps({"meas_id": meas_id, "part_id": part}).encode())


def test_a_trigger_gets_its_verdict_and_the_ack_empties_the_outbox(mosquitto, make_station, make_plc):
    station = make_station(mosquitto.port).start()
    plc = make_plc(mosquitto.port)
    acknowledge_everything(plc)
    wait_until(lambda: plc.states)
    ask(plc, *"abc")
    wait_until(lambda: len(plc.verdicts) == 3 and station.outbox.depth() == 0)
    assert [verdict["meas_id"] for verdict in plc.verdicts] == ["a", "b", "c"]
    assert not any(verdict["is_historical"] for verdict in plc.verdicts)


def test_a_repeated_trigger_gets_the_same_verdict(mosquitto, make_station, make_plc):
    make_station(mosquitto.port, ack_timeout_s=30).start()
    plc = make_plc(mosquitto.port)
    wait_until(lambda: plc.states)
    ask(plc, "a")
    wait_until(lambda: len(plc.verdicts) == 1)
    ask(plc, "a")
    wait_until(lambda: len(plc.verdicts) == 2)
    assert plc.verdicts[0] == plc.verdicts[1]


def test_acks_of_the_wrong_consumer_are_ignored_and_the_verdict_comes_again(mosquitto, make_station, make_plc):
    station = make_station(mosquitto.port).start()
    plc = make_plc(mosquitto.port)
    acknowledge_everything(plc, "somebody")
    wait_until(lambda: plc.states)
    ask(plc, "a")
    wait_until(lambda: len(plc.verdicts) >= 3)
    assert station.outbox.depth() == 1
    assert len({verdict["result_id"] for verdict in plc.verdicts}) == 1


def test_the_weak_mode_needs_no_consumer(mosquitto, make_station, make_plc):
    station = make_station(mosquitto.port, ack="broker").start()
    plc = make_plc(mosquitto.port)
    wait_until(lambda: plc.states)
    ask(plc, "a", "b")
    wait_until(lambda: len(plc.verdicts) == 2 and station.outbox.depth() == 0)


def test_without_a_broker_the_outbox_keeps_everything_and_it_arrives_marked(make_mosquitto, make_station, make_plc):
    broker = make_mosquitto()
    station = make_station(broker.port).start()
    old = [station.decide() for _ in range(30)]
    assert station.outbox.depth() == 30
    broker.start()
    plc = make_plc(broker.port)
    acknowledge_everything(plc)
    wait_until(lambda: station.outbox.depth() == 0)
    new = station.decide()
    wait_until(lambda: any(verdict["result_id"] == new for verdict in plc.verdicts))
    flags = {verdict["result_id"]: verdict["is_historical"] for verdict in plc.verdicts}
    assert flags == {**dict.fromkeys(old, True), new: False}


def test_a_broker_killed_mid_stream_loses_nothing(mosquitto, make_station, make_plc):
    station = make_station(mosquitto.port).start()
    plc = make_plc(mosquitto.port)
    # A verdict can find the consumer connected anew and its mask, just before, not yet.
    acknowledge_everything(plc, wants_masks=True)
    wait_until(lambda: plc.states)
    decided = set()
    for number in range(120):
        decided.add(station.decide(mask_png=b"png" * 100))
        if number in (40, 80):
            mosquitto.kill()
        if number in (60, 100):
            mosquitto.start()
            assert station.link.client.live.wait(10)
            assert plc.client.live.wait(10)
    wait_until(lambda: station.outbox.depth() == 0, timeout_s=20)
    assert {verdict["result_id"] for verdict in plc.verdicts} == decided
    masks = {message.topic.rsplit("/", 1)[1] for message in plc.messages if "/mask/" in message.topic}
    assert masks == decided


def test_a_restarted_station_sends_what_its_predecessor_left(mosquitto, make_station, make_plc):
    plc = make_plc(mosquitto.port)
    before = make_station(mosquitto.port)
    left = before.decide()
    before.stop()
    after = make_station(mosquitto.port).start()
    acknowledge_everything(plc)
    wait_until(lambda: after.outbox.depth() == 0)
    assert [(v["result_id"], v["is_historical"]) for v in plc.verdicts] == [(left, True)]
