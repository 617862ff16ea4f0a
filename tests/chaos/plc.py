"""The reference consumer on a real connection; it remembers everything that it asked for and received."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from chaos.rule import Part
from edge_agent.consumer import Consumer, PartResult
from edge_agent.ids import uuid7
from edge_agent.inspection import Trigger
from edge_agent.messages import encode_ack, encode_command, encode_trigger
from edge_agent.mqtt import BrokerAddress, Message, MqttClient
from edge_agent.topics import Topics
from engines.errors import PublishError

NAME = "plc"
_DEADLINE_S = 30.0
# The sign of life comes once a second.
_LIFE_S = 2.5


class ReferencePlc:
    """Asks, waits with its own timer, acts by the consumer's rule, and acknowledges everything it receives."""

    def __init__(self, port: int, topics: Topics, *, timeout_ms: int) -> None:
        self._port, self._topics = port, topics
        self._timeout_ms = timeout_ms
        self._changed = threading.Condition()
        self._result: PartResult | None = None
        # Starting at the present keeps two runs on one journal apart.
        self.consumer = Consumer(
            first_meas_id=time.time_ns() // 1_000_000, timeout_ms=timeout_ms, accepts_simulated=True
        )
        self.parts: dict[int, Part] = {}
        self.states: list[tuple[float, dict]] = []
        self.replies: dict[str, dict] = {}
        self.acknowledges = True
        self.client: MqttClient | None = None

    def connect(self) -> None:
        topics = self._topics
        handlers = {
            topics.verdict: self._take_verdict,
            topics.state: self._take_state,
            topics.reply: self._take_reply,
            topics.health: self._take_health,
        }
        self.client = MqttClient(BrokerAddress("127.0.0.1", self._port), f"plc-{uuid7()}", handlers)
        self.client.start()

    def disconnect(self) -> None:
        if self.client is not None:
            self.client.stop()

    def ask(self, *, timeout_ms: int | None = None) -> PartResult:
        """Ask for a part and wait for its verdict or the own timeout.

        Args:
            timeout_ms: What the station is told of how long the part can wait, where it differs from the own timer.
        """
        self._wait_for_life()
        trigger = self._begin()
        if not self._publish(trigger, timeout_ms):
            return self._end(self.consumer.give_up("trigger not sent"))
        with self._changed:
            while self._result is None:
                left_s = ((self.consumer.deadline_ns or 0) - time.monotonic_ns()) / 1e9
                if left_s <= 0:
                    self._result = self.consumer.check_timer(time.monotonic_ns())
                else:
                    self._changed.wait(left_s)
            return self._end(self._result)

    def send(self) -> Trigger:
        """Ask for a part without waiting: it is rejected, and its verdict is only counted."""
        trigger = self._begin()
        # Our own client takes only so many at a time.
        while not self._publish(trigger, None) and self.client.live.is_set():
            time.sleep(0.001)
        with self._changed:
            if self._result is None:
                self._result = self.consumer.give_up("not waited for")
            self._end(self._result)
        return trigger

    def repeat(self, trigger: Trigger) -> None:
        """Send a trigger once more, as a PLC does that got no answer."""
        self._publish(trigger, None)

    def command(self, name: str, correlation_id: str, **more) -> None:
        self.client.publish(self._topics.command, encode_command(name, correlation_id, **more))

    def verdicts_of(self, trigger: Trigger) -> list[dict]:
        return list(self.parts[trigger.meas_id].verdicts)

    def wait_for(self, condition: Callable[[], object], what: str, timeout_s: float = _DEADLINE_S) -> float:
        """Wait until the condition holds; return how many seconds that took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < timeout_s, f"{what} did not come in {timeout_s} s: {self.states[-3:]}"
            time.sleep(0.005)
        return time.monotonic() - began

    def is_state(self, state: str, reason: str | None = None, *, since: float = 0.0) -> bool:
        """Return whether this is what the station said last, and, with `since`, no earlier."""
        at, last = self.states[-1] if self.states else (0.0, {"state": None, "reasons": []})
        return at >= since and last["state"] == state and (reason is None or reason in last["reasons"])

    def forget(self) -> None:
        """Forget the parts, after they were judged."""
        with self._changed:
            self.parts.clear()
            self.states[:-1] = []

    def _wait_for_life(self) -> None:
        """Let a station that has just come back say so: a part asked for before is rejected, whatever its verdict."""
        with self._changed:
            until = time.monotonic() + _LIFE_S
            while not self.consumer.is_alive(time.monotonic_ns()) and self.client.live.is_set():
                if not self._changed.wait(until - time.monotonic()):
                    return

    def _begin(self) -> Trigger:
        with self._changed:
            self._result = None
            trigger = self.consumer.ask(f"part-{len(self.parts)}", time.monotonic_ns())
            self.parts[trigger.meas_id] = Part(trigger.meas_id, time.time_ns())
        return trigger

    def _end(self, result: PartResult) -> PartResult:
        self.parts[result.trigger.meas_id].action = result.action
        return result

    def _publish(self, trigger: Trigger, timeout_ms: int | None) -> bool:
        message = json.loads(encode_trigger(trigger))
        if timeout_ms is not None:
            message["expires_ms"] = timeout_ms
        try:
            self.client.publish(self._topics.trigger, json.dumps(message).encode())
        except PublishError:
            return False
        return True

    def _take_verdict(self, message: Message) -> None:
        with self._changed:
            received = self.consumer.take_verdict(message.payload, message.received_ns)
            part = self.parts.get(received.content["meas_id"])
            if part is not None:
                part.verdicts.append(received.content)
            if received.result is not None:
                self._result = received.result
                self._changed.notify()
        if self.acknowledges:
            try:
                self.client.publish(self._topics.ack, encode_ack(NAME, [received.result_id]))
            except PublishError:
                # It comes again, and is acknowledged then.
                return

    def _take_state(self, message: Message) -> None:
        self.states.append((time.monotonic(), json.loads(message.payload)))

    def _take_health(self, message: Message) -> None:
        with self._changed:
            self.consumer.take_health(message.payload, message.received_ns)
            self._changed.notify()

    def _take_reply(self, message: Message) -> None:
        reply = json.loads(message.payload)
        self.replies[reply["correlation_id"]] = reply
