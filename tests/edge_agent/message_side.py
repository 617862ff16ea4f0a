"""The agent's message side without camera and engine, a raw PLC, and waiting with a deadline."""

import contextlib
import json
import time

from edge_agent.heartbeat import Heartbeat
from edge_agent.ids import new_boot_id, uuid7
from edge_agent.link import MqttLink
from edge_agent.messages import encode_health, encode_json, encode_state, parse_trigger
from edge_agent.mqtt import BrokerAddress, MqttClient
from edge_agent.outbox import Outbox
from edge_agent.outbox_records import Accepted
from edge_agent.publisher import OutboxPublisher
from engines.errors import PublishError

DEADLINE_S = 10.0


def wait_until(condition, what="the condition", timeout_s=DEADLINE_S):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true in {timeout_s} s"
        time.sleep(0.005)


class StationSide:
    """Answers every trigger at once with PASS; the wiring that `agent.py` has, without camera and engine."""

    def __init__(self, port, topics, path, *, ack="consumer", ack_timeout_s=0.3, recipe="bottle", **login):
        self.topics, self.boot_id = topics, new_boot_id()
        self.recipe = recipe
        self.outbox = Outbox(path, dedupe_window_s=60)
        self.triggers = []
        self.fault = None
        self.link = MqttLink(BrokerAddress("127.0.0.1", port, **login), topics, self.boot_id, state=self.state("ready"))
        self.heartbeat = Heartbeat({}, self.say_alive)
        self.publisher = OutboxPublisher(
            self.outbox,
            self.link,
            topics,
            ack=ack,
            consumer="plc",
            ack_timeout_s=ack_timeout_s,
            live_for_s=60.0,
            keep_days=30,
            on_aged=lambda count: None,
        )

    def state(self, state):
        return encode_state(state, self.boot_id)

    def start(self):
        self.publisher.start()
        self.connect()
        self.heartbeat.start()
        return self

    def connect(self):
        self.link.start(
            on_trigger=self.on_trigger,
            on_ack=self.publisher.on_ack,
            on_command=lambda payload: None,
            on_live=self.publisher.on_live,
            on_published=self.publisher.on_published,
        )

    def say_alive(self, life):
        with contextlib.suppress(PublishError):
            self.link.publish_health(encode_health(life, self.boot_id, "ready"))

    def on_trigger(self, payload, received_ns, _waited_ns):
        if self.fault is not None:
            raise self.fault
        trigger = parse_trigger(payload, received_ns)
        self.triggers.append(trigger)
        answer = self.outbox.accept(trigger)
        if isinstance(answer, Accepted):
            self.decide(trigger, answer.trigger_id)
        self.publisher.wake()

    def decide(self, trigger=None, trigger_id=None, mask_png=None):
        seq, result_id = self.outbox.next_seq(), uuid7()
        content = {
            "result_id": result_id,
            "seq": seq,
            "meas_id": trigger.meas_id if trigger else None,
            "part_id": trigger.part_id if trigger else None,
            "recipe": self.recipe,
            "verdict": "PASS",
            "reasons": [],
            "mask": {"encoding": "png", "topic": self.topics.mask(result_id)} if mask_png else None,
            "is_simulated": False,
            "is_historical": False,
        }
        self.outbox.store(
            seq=seq,
            result_id=result_id,
            boot_id=self.boot_id,
            payload=encode_json(content),
            mask_png=mask_png,
            trigger_id=trigger_id,
        )
        self.publisher.wake()
        return result_id

    def stop(self):
        self.heartbeat.stop()
        self.link.stop(self.state("stopped"))
        self.publisher.stop()
        self.outbox.close()


class Plc:
    """A raw MQTT client that keeps what it received."""

    def __init__(self, port, topics):
        self.topics = topics
        self.messages = []
        self.client = MqttClient(BrokerAddress("127.0.0.1", port), "plc", {f"{topics.base}/#": self.messages.append})

    def start(self):
        self.client.start()
        assert self.client.live.wait(DEADLINE_S)
        return self

    def on(self, topic):
        return [message for message in list(self.messages) if message.topic == topic]

    @property
    def verdicts(self):
        return [json.loads(message.payload) for message in self.on(self.topics.verdict)]

    @property
    def states(self):
        return [json.loads(message.payload) for message in self.on(self.topics.state)]
