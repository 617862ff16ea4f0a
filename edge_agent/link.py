"""The station's end of MQTT: its retained state, triggers and acknowledgements in, everything else out."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from edge_agent.messages import encode_state
from edge_agent.mqtt import BrokerAddress, Message, MqttClient, Receipt, Will
from edge_agent.topics import Topics
from engines.errors import PublishError

log = logging.getLogger(__name__)

# Two agents under one name would otherwise answer each other at the speed of the network.
_SHORTEST_REPUBLISH_S = 0.5
_REMEMBERED_STATES = 64


class MqttLink:
    """Says what state the station is in, on every connection and whenever somebody else wrote it.

    Args:
        broker: Address and login.
        topics: The station's topics; its client id follows from them.
        boot_id: Id of this start, in the last will: a late will of an old session is seen to be foreign.
        state: The first state, published as soon as there is a connection.
    """

    def __init__(self, broker: BrokerAddress, topics: Topics, boot_id: str, *, state: bytes) -> None:
        self._topics = topics
        self._state_lock = threading.Lock()
        self._state = state
        self._is_state_due = True
        self._state_published_s = float("-inf")
        self._own_states: deque[bytes] = deque(maxlen=_REMEMBERED_STATES)
        self.foreign_states = 0
        self.client = MqttClient(
            broker,
            # No name holds a colon, so no two stations have one id.
            f"edge-{topics.site}:{topics.station}",
            {
                topics.trigger: self._take_trigger,
                topics.ack: self._take_ack,
                topics.command: self._take_command,
                topics.state: self._watch_state,
            },
            will=Will(topics.state, encode_state("offline", boot_id)),
            birth=self._say_state_first,
            on_live=self._tell_live,
            on_published=self._tell_published,
            on_beat=self._say_state_if_due,
        )

    @property
    def is_live(self) -> bool:
        """Whether messages can be published now."""
        return self.client.live.is_set()

    @property
    def generation(self) -> int:
        """Number of the present connection, or of the last one."""
        return self.client.generation

    @property
    def reconnects(self) -> int:
        """How often a connection was made anew."""
        return max(0, self.generation - 1)

    @property
    def error(self) -> PublishError | None:
        """Why there is no connection; None while there is one."""
        return self.client.error

    def start(
        self,
        *,
        on_trigger: Callable[[bytes, int, int], None],
        on_ack: Callable[[bytes], None],
        on_command: Callable[[bytes], None],
        on_live: Callable[[], None],
        on_published: Callable[[int, int], None],
    ) -> None:
        """Begin to connect; returns at once. All of these are called in the network thread.

        Args:
            on_trigger: Called with payload, CLOCK_MONOTONIC of receipt, and how long in ns it may have waited before,
                before the PUBACK goes out: journal there and return. Retained triggers never reach it.
            on_ack: Called with the payload of every acknowledgement.
            on_command: Called with the payload of every command. Retained ones never reach it.
            on_live: Called when a connection is live and the state is published.
            on_published: Called with (generation, mid) of every PUBACK; must not block.
        """
        self._on_trigger, self._on_ack, self._on_command = on_trigger, on_ack, on_command
        self._on_live, self._on_published = on_live, on_published
        self.client.start()

    def stop(self, farewell: bytes | None = None, timeout_s: float = 2.0) -> None:
        """Publish a last state (`stopped`), wait for its PUBACK, and disconnect without the will."""
        deadline = time.monotonic() + timeout_s
        if farewell is not None:
            with self._state_lock:
                self._state = farewell
                receipt = self._publish_state()
            if receipt is not None:
                receipt.wait(timeout_s)
        self.client.stop(max(0.5, deadline - time.monotonic()))

    def set_state(self, state: bytes) -> None:
        """Publish a state, now or as soon as there is a connection; never waits."""
        with self._state_lock:
            self._state = state
            self._publish_state()

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> Receipt:
        """Hand a message to the network thread; never waits.

        Raises:
            PublishError: There is no live connection, or too much is in flight; nothing was sent.
        """
        return self.client.publish(topic, payload, qos=qos, retain=retain)

    def publish_verdict(self, payload: bytes) -> None:
        """Publish a verdict past the outbox; raises as `publish` does."""
        self.publish(self._topics.verdict, payload)

    def publish_late(self, result_id: str, payload: bytes) -> None:
        """Publish for people what was found too late; raises as `publish` does."""
        self.publish(self._topics.late(result_id), payload, qos=0)

    def publish_reply(self, payload: bytes) -> None:
        """Publish what became of a command; raises as `publish` does."""
        self.publish(self._topics.reply, payload)

    def publish_health(self, payload: bytes) -> None:
        """Publish the sign of life; raises as `publish` does."""
        self.publish(self._topics.health, payload, qos=0)

    def _publish_state(self) -> Receipt | None:
        """Publish the latest state under the lock, which keeps states in order; if that fails it stays due."""
        self._is_state_due = True
        self._own_states.append(self._state)
        try:
            receipt = self.client.publish(self._topics.state, self._state, retain=True)
        except PublishError:
            return None
        self._is_state_due = False
        self._state_published_s = time.monotonic()
        return receipt

    def _say_state_first(self) -> None:
        with self._state_lock:
            self._publish_state()

    def _say_state_if_due(self) -> None:
        with self._state_lock:
            if self._is_state_due and time.monotonic() - self._state_published_s >= _SHORTEST_REPUBLISH_S:
                self._publish_state()

    def _watch_state(self, message: Message) -> None:
        with self._state_lock:
            if message.payload in self._own_states:
                return
            self._is_state_due = True
            self.foreign_states += 1
        log.warning("mqtt state was written by another, republishing ours payload=%r", message.payload[:200])
        self._say_state_if_due()

    def _take_trigger(self, message: Message) -> None:
        if message.retained:
            log.warning("mqtt retained trigger ignored payload=%r", message.payload[:200])
            return
        self._on_trigger(message.payload, message.received_ns, message.waited_ns)

    def _take_ack(self, message: Message) -> None:
        self._on_ack(message.payload)

    def _take_command(self, message: Message) -> None:
        if message.retained:
            log.warning("mqtt retained command ignored payload=%r", message.payload[:200])
            return
        self._on_command(message.payload)

    def _tell_live(self) -> None:
        self._on_live()

    def _tell_published(self, generation: int, mid: int) -> None:
        self._on_published(generation, mid)
